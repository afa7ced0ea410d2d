//! Files that are written whole or not at all, and keys that nobody else may read.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::AuthorityError;

/// Largest file of the authority's own, in bytes: an index of 100,000 certificates has a quarter of this.
const LARGEST_FILE: u64 = 128 * 1024 * 1024;

pub(crate) const PUBLIC: u32 = 0o644;
pub(crate) const PRIVATE: u32 = 0o600;

pub(crate) fn failed<'p>(doing: &'static str, path: &'p Path) -> impl FnOnce(std::io::Error) -> AuthorityError + 'p {
    move |source| AuthorityError::File { doing, path: path.to_owned(), source }
}

/// Makes a directory that is its owner's alone, and those above it that are missing.
pub(crate) fn make_directory(path: &Path) -> Result<(), AuthorityError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.and_then(|()| sync_parent(path)).map_err(failed("make the directory", path))
}

/// Refuses a directory into which others may put files.
pub(crate) fn check_directory(path: &Path) -> Result<(), AuthorityError> {
    let mode = std::fs::metadata(path).map_err(failed("read", path))?.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(AuthorityError::Exposed { path: path.to_owned(), mode, wanted: 0o700 });
    }
    Ok(())
}

/// Waits until no other process works on this directory. The lock ends with the file.
pub(crate) fn lock(directory: &Path) -> Result<File, AuthorityError> {
    let path = directory.join("lock");
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(PRIVATE).open(&path);
    let file = open.map_err(failed("open", &path))?;
    file.lock().map_err(failed("lock", &path))?;
    Ok(file)
}

/// The whole text; `None`: there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<String>, AuthorityError> {
    match File::open(path) {
        Ok(file) => read_text(file, path).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// The whole text of a file that its owner alone may read.
pub(crate) fn read_private(path: &Path) -> Result<String, AuthorityError> {
    let file = File::open(path).map_err(failed("read", path))?;
    // Of the open file, so that it cannot be another one by the time it is read.
    let mode = file.metadata().map_err(failed("read", path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(AuthorityError::Exposed { path: path.to_owned(), mode, wanted: PRIVATE });
    }
    read_text(file, path)
}

fn read_text(file: File, path: &Path) -> Result<String, AuthorityError> {
    let mut text = String::new();
    let length = file.take(LARGEST_FILE + 1).read_to_string(&mut text).map_err(failed("read", path))?;
    if length as u64 > LARGEST_FILE {
        return Err(AuthorityError::Damaged { path: path.to_owned(), why: "it is far too large".to_owned() });
    }
    Ok(text)
}

/// Writes a file whole or not at all, also when the machine stops half-way: a new file beside it, forced to disk, takes its place.
pub(crate) fn write(path: &Path, text: &str, mode: u32) -> Result<(), AuthorityError> {
    let fresh = beside(path);
    let written = || -> std::io::Result<()> {
        remove(&fresh)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
        // The process's umask may have taken bits away that a public file should have.
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        sync_parent(path)
    };
    written().map_err(failed("write", path))
}

/// Makes `path` a symbolic link to `target`, in one step where there was one before.
pub(crate) fn point(path: &Path, target: &Path) -> Result<(), AuthorityError> {
    let fresh = beside(path);
    let pointed = || -> std::io::Result<()> {
        remove(&fresh)?;
        std::os::unix::fs::symlink(target, &fresh)?;
        std::fs::rename(&fresh, path)?;
        sync_parent(path)
    };
    pointed().map_err(failed("write", path))
}

/// What a crash left half-way is nobody's.
fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn beside(path: &Path) -> PathBuf {
    path.with_added_extension("new")
}

fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_what_a_crash_left_is_no_obstacle() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index.json");
        write(&path, "one", PUBLIC).unwrap();
        // A crash before the rename: the old text counts, and the next write succeeds.
        std::fs::write(directory.path().join("index.json.new"), "half of tw").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("one"));
        write(&path, "two", PRIVATE).unwrap();
        assert_eq!(read_private(&path).unwrap(), "two");
        assert!(!directory.path().join("index.json.new").exists());
        assert_eq!(read(&directory.path().join("none")).unwrap(), None);
    }
}
