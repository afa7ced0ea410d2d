//! The installation's secret: 32 random bytes, made at the first start and kept.
//!
//! Dialback keys are made from it, so it must be the same after a restart and on every node of a hub, and
//! known to nobody else; hashed addresses in the log are keyed with it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, bail};
use rand::TryRng;

/// Reads the secret of a data directory, or makes one.
///
/// # Errors
/// When it cannot be read or written, is not 64 hexadecimal digits, or other users may read it.
pub fn load_or_create(data_directory: &Path) -> anyhow::Result<[u8; 32]> {
    let path = data_directory.join("secret");
    match read_private(&path)? {
        Some(text) => parse(text.trim()).with_context(|| format!("{} is not 64 hexadecimal digits", path.display())),
        None => create(&path),
    }
}

/// Reads a password from a file that only its owner may read: the first line.
///
/// # Errors
/// When it cannot be read, or others may read it.
pub fn read_password(path: &Path) -> anyhow::Result<String> {
    let text = read_private(path)?.with_context(|| format!("cannot read {}: there is no such file", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The text of a file that only its owner may read; `None`: there is no such file.
fn read_private(path: &Path) -> anyhow::Result<Option<String>> {
    let cannot_read = || format!("cannot read {}", path.display());
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(cannot_read),
    };
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!("{} may be read by others (mode {:o}): run chmod 600 on it", path.display(), mode & 0o777);
    }
    let mut text = String::new();
    file.read_to_string(&mut text).with_context(cannot_read)?;
    Ok(Some(text))
}

fn create(path: &Path) -> anyhow::Result<[u8; 32]> {
    let mut secret = [0; 32];
    rand::rngs::SysRng.try_fill_bytes(&mut secret).context("the operating system gives no randomness")?;
    let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    write_private(path, format!("{digits}\n").as_bytes())?;
    Ok(secret)
}

/// Writes a file that only its owner may read, whole or not at all: a crash half-way leaves a file that nobody reads.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let fresh = path.with_added_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn parse(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut secret = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_kept_and_nobody_else_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let first = load_or_create(directory.path()).unwrap();
        assert_eq!(load_or_create(directory.path()).unwrap(), first);
        assert_ne!(first, [0; 32]);
        let path = directory.path().join("secret");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(load_or_create(directory.path()).unwrap_err().to_string().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "short").unwrap();
        assert!(load_or_create(directory.path()).unwrap_err().to_string().contains("64 hexadecimal digits"));
    }
}
