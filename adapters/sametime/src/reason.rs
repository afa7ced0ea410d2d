//! The numbers by which a channel, or a connection, ends; and the two tables between them and [`Refusal`].
//!
//! Which one is said decides what a client shows, and whether it comes back by itself: of those for a whole connection, `WRONG`,
//! `RESTRICTED` and `ELSEWHERE` make it wait for a person, any other has it try again.

use interchange_model::Refusal;

/// A normal end.
pub const NONE: u32 = 0;
/// Something else.
pub const FAILURE: u32 = 0x8000_0000;
/// The request makes no sense.
pub const INVALID: u32 = 0x8000_0001;
/// Policy forbids it.
pub const NOT_AUTHORIZED: u32 = 0x8000_0003;
/// There is nobody of that name; shown as `User is not online`.
pub const NO_SUCH_USER: u32 = 0x8000_0006;
/// There is no room for it.
pub const STARVING: u32 = 0x8000_000a;
/// There is no such service.
pub const NO_SERVICE: u32 = 0x8000_000d;
/// The other side's encryption cannot be undone.
pub const ENCRYPTION: u32 = 0x8000_0020;
/// What is kept would be too large.
pub const TOO_LARGE: u32 = 0x8000_0209;
/// The server cannot serve now: the client tries again by itself.
pub const NOT_RESPONDING: u32 = 0x8000_020c;
/// The protocol was broken.
pub const PROTOCOL: u32 = 0x8000_020f;
/// The client may not come in this way: it does not try again by itself.
pub const RESTRICTED: u32 = 0x8000_0210;
/// Wrong name or password: it asks its user.
pub const WRONG: u32 = 0x8000_0211;
/// The link to the far side is down.
pub const BROKEN: u32 = 0x8000_0221;
/// No answer came.
pub const TIMED_OUT: u32 = 0x8000_0225;
/// A younger login took its place: it does not try again by itself, so two clients do not throw each other out in turns.
pub const ELSEWHERE: u32 = 0x8000_0227;
/// The recipient is not there.
pub const USER_GONE: u32 = 0x8000_2000;
/// The recipient is not to be disturbed.
pub const USER_BUSY: u32 = 0x8000_2001;
/// The recipient's client does not do this.
pub const NOT_REGISTERED: u32 = 0x8000_2005;

/// How a client is told that its message was refused.
#[must_use]
pub const fn of(refusal: Refusal) -> u32 {
    match refusal {
        Refusal::UnknownDomain | Refusal::NoSuchUser => NO_SUCH_USER,
        Refusal::Unavailable => USER_GONE,
        Refusal::NotAllowed | Refusal::NotYours | Refusal::PeerRefused => NOT_AUTHORIZED,
        Refusal::PeerFault | Refusal::Expired => BROKEN,
        Refusal::TimedOut => TIMED_OUT,
        Refusal::TooLarge => TOO_LARGE,
        Refusal::Unsupported | Refusal::Loop | Refusal::Malformed => FAILURE,
        Refusal::Overloaded | Refusal::RateLimited => STARVING,
    }
}

/// What it means to the sender that a client has refused a conversation.
#[must_use]
pub const fn to_refusal(reason: u32) -> Refusal {
    match reason {
        NOT_AUTHORIZED => Refusal::PeerRefused,
        NOT_REGISTERED | NO_SERVICE => Refusal::Unsupported,
        // Also: busy, gone.
        _ => Refusal::Unavailable,
    }
}

/// Whether the next message to the same person would be refused for the same reason, so that its sender can be told before writing it.
#[must_use]
pub const fn lasts(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::UnknownDomain | Refusal::NoSuchUser | Refusal::NotAllowed | Refusal::NotYours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_reason_that_is_an_error() {
        for refusal in Refusal::ALL {
            assert!(of(refusal) & 0x8000_0000 != 0, "{refusal}");
        }
        assert_eq!(to_refusal(USER_BUSY), Refusal::Unavailable);
        assert_eq!(to_refusal(of(Refusal::PeerRefused)), Refusal::PeerRefused);
    }
}
