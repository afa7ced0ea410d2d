//! The two tables between [`Refusal`] and SIP status codes (shared/protocols/interworking.md §5).

use interchange_model::Refusal;

/// A final answer other than 2xx.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status {
    /// 400 to 699.
    pub code: u16,
    /// Seconds for a Retry-After header.
    pub retry_after: Option<u32>,
}

impl Status {
    /// A code without more.
    #[must_use]
    pub const fn new(code: u16) -> Self {
        Self { code, retry_after: None }
    }

    const fn later(code: u16, seconds: u32) -> Self {
        Self { code, retry_after: Some(seconds) }
    }
}

/// How SIP says a refusal to whoever sent a MESSAGE.
///
/// Never 6xx, which would stop branches of a forking proxy that the hub knows nothing of; never 401 or 407, which ask for a
/// password that leads nowhere; never 408, which RFC 4320 §4.2 forbids to a non-INVITE; 503 only for the hub's own trouble.
#[must_use]
pub const fn to_status(refusal: Refusal) -> Status {
    match refusal {
        Refusal::UnknownDomain | Refusal::NoSuchUser => Status::new(404),
        Refusal::NotAllowed | Refusal::NotYours | Refusal::PeerRefused => Status::new(403),
        Refusal::Unavailable | Refusal::Expired => Status::new(480),
        // Neither 415, whose Accept would be ours and not the recipient's, nor 501, which would deny MESSAGE itself.
        Refusal::Unsupported => Status::new(406),
        Refusal::TooLarge => Status::new(513),
        Refusal::PeerFault => Status::new(500),
        Refusal::TimedOut => Status::later(480, 60),
        Refusal::Loop => Status::new(482),
        Refusal::Overloaded => Status::later(503, OVERLOADED_SECONDS),
        // Not 503, which would keep the peer from sending for anybody else (RFC 3261 §21.5.4).
        Refusal::RateLimited => Status::later(480, OVERLOADED_SECONDS),
        Refusal::Malformed => Status::new(400),
    }
}

/// shared/protocols/interworking.md §5.4: 5 to 30.
pub const OVERLOADED_SECONDS: u32 = 10;

/// What a final answer of 300 or more to a MESSAGE means to its sender.
#[must_use]
pub const fn from_status(code: u16) -> Refusal {
    match code {
        // 301 and 410: the user is gone. 484, 485, 604: there never was one of that name.
        301 | 404 | 410 | 484 | 485 | 604 => Refusal::NoSuchUser,
        380 | 405 | 406 | 415 | 416 | 420 | 421 | 439 | 488 | 489 | 501 | 505 | 606 => Refusal::Unsupported,
        // Other redirections are never followed across companies; the user is not where we were told.
        300..=399 => Refusal::Unavailable,
        // The link is wrong, not the message: its operator is told, the sender can do nothing.
        401 | 407 => Refusal::PeerFault,
        402 | 403 | 428 | 429 | 433 | 436 | 437 | 438 | 470 | 603 | 607 | 608 => Refusal::PeerRefused,
        408 | 504 => Refusal::TimedOut,
        413 | 414 | 513 => Refusal::TooLarge,
        // A bare 503 is about this message: Kamailio sites answer so when they could not store it for an absent user.
        422 | 423 | 430 | 480 | 486 | 487 | 491 | 503 | 600 => Refusal::Unavailable,
        440 | 482 | 483 => Refusal::Loop,
        // We began no dialog, so the peer lost track of something of its own.
        481 => Refusal::PeerFault,
        // RFC 3261 §8.1.3.2: an unknown code is the x00 of its class.
        400..=499 => Refusal::Malformed,
        600..=699 => Refusal::Unavailable,
        _ => Refusal::PeerFault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_an_answer() {
        let table = [
            (Refusal::UnknownDomain, 404, None),
            (Refusal::NotAllowed, 403, None),
            (Refusal::NotYours, 403, None),
            (Refusal::NoSuchUser, 404, None),
            (Refusal::Unavailable, 480, None),
            (Refusal::Unsupported, 406, None),
            (Refusal::TooLarge, 513, None),
            (Refusal::PeerRefused, 403, None),
            (Refusal::PeerFault, 500, None),
            (Refusal::TimedOut, 480, Some(60)),
            (Refusal::Expired, 480, None),
            (Refusal::Loop, 482, None),
            (Refusal::Overloaded, 503, Some(10)),
            (Refusal::RateLimited, 480, Some(10)),
            (Refusal::Malformed, 400, None),
        ];
        for refusal in Refusal::ALL {
            let (_, code, retry_after) = table.iter().find(|row| row.0 == refusal).unwrap();
            assert_eq!(to_status(refusal), Status { code: *code, retry_after: *retry_after }, "{refusal}");
        }
        for refusal in Refusal::ALL {
            let code = to_status(refusal).code;
            assert!((400..600).contains(&code) && ![401, 407, 408].contains(&code), "{refusal}");
        }
    }

    #[test]
    fn every_status_has_a_meaning() {
        for (codes, refusal) in [
            (&[301, 404, 410, 484, 485, 604][..], Refusal::NoSuchUser),
            (&[300, 302, 305, 399, 430, 480, 486, 487, 491, 503, 600, 699], Refusal::Unavailable),
            (&[380, 405, 406, 415, 416, 420, 421, 488, 489, 501, 505, 606], Refusal::Unsupported),
            (&[402, 403, 428, 433, 436, 470, 603, 607], Refusal::PeerRefused),
            (&[401, 407, 481, 500, 502, 580, 599], Refusal::PeerFault),
            (&[408, 504], Refusal::TimedOut),
            (&[413, 414, 513], Refusal::TooLarge),
            (&[440, 482, 483], Refusal::Loop),
            (&[400, 409, 412, 493, 494, 499], Refusal::Malformed),
        ] {
            for code in codes {
                assert_eq!(from_status(*code), refusal, "{code}");
            }
        }
    }

    #[test]
    fn what_goes_through_two_hubs_keeps_its_meaning_where_sip_has_a_word_for_it() {
        for refusal in Refusal::ALL {
            let back = from_status(to_status(refusal).code);
            let want = match refusal {
                Refusal::UnknownDomain => Refusal::NoSuchUser,
                Refusal::NotAllowed | Refusal::NotYours => Refusal::PeerRefused,
                Refusal::TimedOut | Refusal::Expired | Refusal::Overloaded | Refusal::RateLimited => Refusal::Unavailable,
                same => same,
            };
            assert_eq!(back, want, "{refusal}");
        }
    }
}
