//! What can go wrong, with what to do about it.

use std::path::PathBuf;

use interchange_model::Domain;

use crate::request::RequestError;
use crate::serial::Serial;

/// Why the authority did not do what it was asked for. Nothing was issued or revoked then, unless the variant says so.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// There is no authority in the directory.
    #[error("there is no authority in {}: make one with `interchange authority init`", .0.display())]
    Missing(PathBuf),
    /// There is one already.
    #[error("there is an authority in {} already: it stays as it is; for another one name another directory", .0.display())]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// `read`, `write` and so on.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Others than the owner may read a private key, or put files into the authority's directory.
    #[error("{} is open to others (mode {mode:o}): run `chmod {wanted:o}` on it, and if others may have read it, make a new authority", path.display())]
    Exposed {
        /// Which file or directory.
        path: PathBuf,
        /// The mode it has.
        mode: u32,
        /// The mode it must have at most.
        wanted: u32,
    },
    /// A file of the authority's is not what the authority wrote.
    #[error("{} is damaged ({why}): bring back the whole directory from a backup", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The name for the authority is empty, longer than 64 characters, or has control characters (RFC 5280 appendix A.1).
    #[error("a name for an authority has 1 to 64 characters and no control characters")]
    Name,
    /// A certificate for no domain, or for more than 100.
    #[error("a certificate stands for 1 to {most} domains, not for {count}")]
    DomainCount {
        /// How many were asked for.
        count: usize,
        /// How many are possible.
        most: usize,
    },
    /// A lifetime of no day or of more than 398.
    #[error("a certificate lives 1 to {longest} days, not {days}", longest = crate::certificate::LONGEST_LIFETIME)]
    Lifetime {
        /// What was asked for.
        days: u16,
    },
    /// The certificate would outlive the authority.
    #[error(
        "the authority's own certificate ends on {authority}, before this one would (on {certificate}): \
         ask for fewer days, or make a new authority and have members trust it beside this one"
    )]
    Outlives {
        /// The last day of the authority.
        authority: time::Date,
        /// The last day of the certificate.
        certificate: time::Date,
    },
    /// A request for a certificate cannot be granted.
    #[error("the request for a certificate is refused: {0}")]
    Request(#[from] RequestError),
    /// The request asks for other domains than the certificate that it renews.
    #[error(
        "the request asks for {asked}, and the certificate {serial} does not stand for it: renewing changes no names; use `interchange authority issue`"
    )]
    OtherNames {
        /// Which certificate was to be renewed.
        serial: Serial,
        /// A domain that is not in it.
        asked: Domain,
    },
    /// The certificate's key is its holder's, so renewing it needs a request.
    #[error("the key of {0} is its holder's: ask for a new request and give its file with --request")]
    NeedsRequest(Serial),
    /// No certificate has this serial number.
    #[error("no certificate has a serial number that begins with {0}: `interchange authority list --all` shows all of them")]
    Unknown(String),
    /// Several certificates' serial numbers begin with these digits.
    #[error("{count} certificates have serial numbers that begin with {prefix}: give more digits")]
    Ambiguous {
        /// The digits.
        prefix: String,
        /// How many.
        count: usize,
    },
    /// It was revoked before. Revoking again changes nothing.
    #[error(
        "{0} was revoked already; if its revocation may not have reached the list, write it anew with `interchange authority crl`"
    )]
    AlreadyRevoked(Serial),
    /// What was revoked is not renewed.
    #[error("{0} was revoked, so it is not renewed: issue a new certificate")]
    Revoked(Serial),
    /// The index holds as many certificates as it may.
    #[error("the authority has issued {0} certificates, which is all it keeps: make a new authority")]
    Full(usize),
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness: {0}")]
    Randomness(String),
    /// The cryptographic library refuses; a fault in this program.
    #[error("the certificate cannot be made: {0}")]
    Signing(#[from] rcgen::Error),
}
