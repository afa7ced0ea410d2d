//! Final answers: their codes, and the reason that goes with them in `ms-diagnostics-public`, which Microsoft's servers pass on to their logs.

use interchange_model::Refusal;
use sip_adapter::Refusing;
use sip_codec::{Name, Request, Response, Unencodable, Value};

/// A final answer of 300 or more, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnosis {
    pub(crate) code: u16,
    reason: Option<&'static str>,
    /// Headers that must go with it.
    headers: Vec<(Name, String)>,
}

impl Diagnosis {
    pub(crate) const fn of(code: u16) -> Self {
        Self { code, reason: None, headers: Vec::new() }
    }

    pub(crate) const fn because(code: u16, reason: &'static str) -> Self {
        Self { code, reason: Some(reason), headers: Vec::new() }
    }

    pub(crate) fn with(mut self, name: Name, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

impl From<Refusing> for Diagnosis {
    fn from(why: Refusing) -> Self {
        match why {
            Refusing::Rules(refused) => Self { reason: refused.reason, ..crate::inbound::of_rules(&refused) },
            Refusing::Why(why) => of_refusal(why, Carriage::Page),
            Refusing::Address(fault) => crate::inbound::of_address(fault),
        }
    }
}

/// What a message came in: it decides which codes end more than the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carriage {
    /// The INVITE that begins a session.
    Invite,
    /// A MESSAGE in a session, which 408, 480 and 481 would end.
    Session,
    /// A MESSAGE by itself.
    Page,
}

/// How a refusal is said to whoever sent a message.
///
/// Never 603 for a person's refusal, which clients show as a failure of the service, nor 401 or 407, which ask for a password that leads nowhere.
pub(crate) fn of_refusal(refusal: Refusal, carriage: Carriage) -> Diagnosis {
    let away = if carriage == Carriage::Session { 504 } else { 480 };
    let code = match refusal {
        Refusal::UnknownDomain | Refusal::NoSuchUser => 404,
        Refusal::NotAllowed | Refusal::NotYours | Refusal::PeerRefused => 403,
        Refusal::Unavailable | Refusal::Expired => away,
        Refusal::Unsupported => 415,
        Refusal::TooLarge => 513,
        Refusal::PeerFault => 500,
        Refusal::TimedOut => 504,
        Refusal::Loop => 482,
        // An edge takes a 503 for the hub's own state, which it is here alone.
        Refusal::Overloaded => return Diagnosis::because(503, refusal.sentence()).with(Name::RetryAfter, "10"),
        Refusal::RateLimited => 500,
        Refusal::Malformed => 400,
    };
    Diagnosis::because(code, refusal.sentence())
}

/// The number that goes with a reason. Nobody may decide anything by it; the first ones are the published ranges' own.
const fn number(code: u16) -> u16 {
    match code {
        404 => 1003,
        403 => 1027,
        _ => 1034,
    }
}

/// The answer.
///
/// # Errors
/// [`Unencodable`], which none of ours is.
pub(crate) fn response(request: &Request, tag: &str, diagnosis: &Diagnosis) -> Result<Response, Unencodable> {
    let mut response = Response::to_request(request, diagnosis.code, Some(tag), None)?;
    for (name, value) in &diagnosis.headers {
        response = response.with_header(*name, Value::new(value)?)?;
    }
    if let Some(reason) = diagnosis.reason {
        let value = format!("{};reason=\"{reason}\"", number(diagnosis.code));
        response = response.with_named_header("ms-diagnostics-public", Value::new(&value)?)?;
    }
    // Edges find their way back by it in any answer.
    Ok(response.with_header(Name::Server, Value::new("Interchange")?)?.with_record_route_of(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_message_never_ends_its_session_and_nobody_is_asked_for_a_password() {
        for refusal in Refusal::ALL {
            for carriage in [Carriage::Invite, Carriage::Session, Carriage::Page] {
                let code = of_refusal(refusal, carriage).code;
                assert!((400..600).contains(&code) && ![401, 407].contains(&code), "{refusal} {code}");
                let ends = [408, 480, 481].contains(&code);
                assert!(!ends || (carriage != Carriage::Session && code == 480), "{refusal} {code}");
            }
        }
    }
}
