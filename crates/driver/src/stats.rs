//! What the driver counts: the one place where connections and bytes pass.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use interchange_adapter::CloseReason;

/// Counters of one platform's driver, since it started. Reading them costs nothing and stops nobody; two of them read one
/// after the other need not fit together.
#[derive(Debug, Default)]
pub struct DriverStats {
    open: AtomicU64,
    accepted: AtomicU64,
    dialled: AtomicU64,
    turned_away: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    datagrams_dropped: AtomicU64,
    restarts: AtomicU64,
    closes: [AtomicU64; REASONS.len()],
}

/// Every reason, in the order of its discriminant: the index into `closes`.
const REASONS: [CloseReason; 13] = [
    CloseReason::Finished,
    CloseReason::PeerClosed,
    CloseReason::Broken,
    CloseReason::Unresolved,
    CloseReason::Unreachable,
    CloseReason::TimedOut,
    CloseReason::TlsFailed,
    CloseReason::CertificateRefused,
    CloseReason::Slow,
    CloseReason::Malformed,
    CloseReason::Refused,
    CloseReason::Limit,
    CloseReason::Shutdown,
];

impl DriverStats {
    /// Connections open now: TCP connections, and peers' addresses on UDP sockets.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    /// Connections accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Dials that led to a connection.
    #[must_use]
    pub fn dialled(&self) -> u64 {
        self.dialled.load(Relaxed)
    }

    /// Connections closed at once because a limit on their number was reached ([`Limits`](crate::Limits)).
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Relaxed)
    }

    /// Bytes read, decrypted where TLS is on.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Relaxed)
    }

    /// Bytes written, before encryption where TLS is on.
    #[must_use]
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Relaxed)
    }

    /// Datagrams that could not be sent: the socket's queue was full, or they were too large.
    #[must_use]
    pub fn datagrams_dropped(&self) -> u64 {
        self.datagrams_dropped.load(Relaxed)
    }

    /// How often the adapter was rebuilt after a panic.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Relaxed)
    }

    /// Connections that ended and dials that failed, by reason.
    #[must_use]
    pub fn closes(&self, why: CloseReason) -> u64 {
        self.closes[why as usize].load(Relaxed)
    }

    /// [`Self::closes`] of every reason.
    pub fn all_closes(&self) -> impl Iterator<Item = (CloseReason, u64)> + '_ {
        REASONS.iter().map(|&why| (why, self.closes(why)))
    }

    pub(crate) fn count_opened(&self, dialled: bool) {
        self.open.fetch_add(1, Relaxed);
        if dialled { &self.dialled } else { &self.accepted }.fetch_add(1, Relaxed);
    }

    /// A connection that was counted as opened has ended.
    pub(crate) fn count_closed(&self, why: CloseReason) {
        self.open.fetch_sub(1, Relaxed);
        self.closes[why as usize].fetch_add(1, Relaxed);
    }

    /// A dial has failed.
    pub(crate) fn count_failed(&self, why: CloseReason) {
        self.closes[why as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn count_turned_away(&self) {
        self.turned_away.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_read(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn count_written(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn count_dropped(&self) {
        self.datagrams_dropped.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_restart(&self) {
        self.restarts.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter() {
        let stats = DriverStats::default();
        for (index, why) in REASONS.into_iter().enumerate() {
            assert_eq!(why as usize, index);
            for _ in 0..=index {
                stats.count_failed(why);
            }
        }
        for (index, (why, count)) in stats.all_closes().enumerate() {
            assert_eq!((REASONS[index], index as u64 + 1), (why, count));
        }
    }
}
