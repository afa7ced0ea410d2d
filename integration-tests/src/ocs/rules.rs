//! What a federated partner must and must not write: each violation in words.

use super::message::{Message, parameter, split, uri};

/// Rules for every message of a partner.
fn of_any(message: &Message) -> Vec<String> {
    let mut faults = Vec::new();
    if message.has("ms-edge-proxy-message-trust") {
        faults.push("ms-edge-proxy-message-trust comes from a partner: it is the receiving edge's own".to_owned());
    }
    if message.has("Compression") {
        faults.push("a partner asks for compression outside NEGOTIATE".to_owned());
    }
    if message.all("Supported").any(|line| line.contains(',')) {
        faults.push("two tokens in one Supported line: clients compare the whole line".to_owned());
    }
    if message.all("ms-diagnostics-public").any(|value| value.contains("source=")) {
        faults.push("ms-diagnostics-public with a source crosses the edge".to_owned());
    }
    for field in ["From", "To", "Call-ID", "CSeq", "Via"] {
        if !message.has(field) {
            faults.push(format!("no {field}"));
        }
    }
    let kind = message.header("Content-Type");
    if !message.body.is_empty() && kind.is_empty() {
        faults.push("a body without a Content-Type".to_owned());
    }
    faults
}

/// Rules for a request of a partner, whatever it asks.
pub(super) fn of_request(request: &Message) -> Vec<String> {
    let mut faults = of_any(request);
    let method = request.method().unwrap_or_default();
    if request.cseq().is_none_or(|(_, named)| named != method) {
        faults.push(format!("CSeq {:?} of a {method}", request.header("CSeq")));
    }
    let via = request.header("Via");
    if !via.starts_with("SIP/2.0/TLS ") {
        faults.push(format!("the top Via is not TLS: {via}"));
    }
    if parameter(via, "branch").is_none_or(|branch| !branch.starts_with("z9hG4bK") || branch.len() < 12) {
        faults.push(format!("the top Via has no branch of RFC 3261: {via}"));
    }
    if !request.has("Max-Forwards") {
        faults.push("no Max-Forwards".to_owned());
    }
    if parameter(request.header("From"), "tag").is_none_or(str::is_empty) {
        faults.push("From has no tag".to_owned());
    }
    let in_dialog = parameter(request.header("To"), "tag").is_some();
    if matches!(method, "INVITE" | "SUBSCRIBE") && !uri(request.header("Contact")).starts_with("sip:") {
        faults.push(format!("a {method} without a Contact"));
    }
    if matches!(method, "INFO" | "BYE" | "NOTIFY" | "BENOTIFY" | "ACK") && !in_dialog {
        faults.push(format!("a {method} outside a dialog"));
    }
    match method {
        "INVITE" => of_session(request, &mut faults),
        "MESSAGE" => of_text(request, &mut faults),
        "INFO" => {
            let text = request.text();
            if request.header("Content-Type") == "application/xml" && !text.contains("<KeyboardActivity>") {
                faults.push("an INFO of application/xml that is no KeyboardActivity".to_owned());
            }
        }
        "SUBSCRIBE" if request.header("Event") == "presence" && !request.has("Accept") && !in_dialog => {
            faults.push("a SUBSCRIBE that accepts nothing".to_owned());
        }
        "NOTIFY" | "BENOTIFY" if !request.has("Event") || !request.has("subscription-state") => {
            faults.push(format!("a {method} without Event or subscription-state"));
        }
        _ => {}
    }
    faults
}

fn of_session(request: &Message, faults: &mut Vec<String>) {
    let text = request.text();
    let lines: Vec<&str> = text.split("\r\n").collect();
    if request.header("Content-Type") != "application/sdp" {
        faults.push(format!("an INVITE with {}", request.header("Content-Type")));
    }
    if !lines.iter().any(|line| line.starts_with("m=message ") || line.starts_with("m=x-ms-message ")) {
        faults.push("an INVITE that offers no message session".to_owned());
    }
    if !lines.iter().any(|line| line.starts_with("a=accept-types:") && line.contains("text/plain")) {
        faults.push("a session without accept-types".to_owned());
    }
    if text.contains("m=audio") || text.contains("m=video") {
        faults.push("a session with other media".to_owned());
    }
}

fn of_text(request: &Message, faults: &mut Vec<String>) {
    let kind = request.header("Content-Type");
    let (kind, text) = (split(kind, ';')[0].to_ascii_lowercase(), kind);
    match kind.as_str() {
        "text/plain" | "text/html" => {
            if parameter(text, "charset").is_none_or(|charset| !charset.eq_ignore_ascii_case("utf-8")) {
                faults.push(format!("text without charset=UTF-8: {text}"));
            }
            if std::str::from_utf8(&request.body).is_err() {
                faults.push("text that is not UTF-8".to_owned());
            }
        }
        "text/rtf"
        | "multipart/alternative"
        | "application/im-iscomposing+xml"
        | "application/ms-imdn+xml"
        | "text/x-msmsgsinvite" => {}
        _ => faults.push(format!("a MESSAGE of a type that clients refuse: {kind}")),
    }
}

/// Rules for a partner's response to `request`.
pub(super) fn of_response(request: &Message, response: &Message) -> Vec<String> {
    let mut faults = of_any(response);
    let status = response.status().unwrap_or_default();
    let method = request.method().unwrap_or_default();
    let vias: Vec<&str> = request.all("Via").collect();
    // The receiving side may add to the first alone, and that at its end.
    let received: Vec<String> = response.list("Via");
    let same = received.len() == vias.len()
        && vias.iter().zip(&received).enumerate().all(|(number, (sent, came))| {
            came == sent || (number == 0 && came.strip_prefix(sent).is_some_and(|added| added.starts_with(';')))
        });
    if !same {
        faults.push(format!("the Vias are not those of the request, byte for byte: {received:?} for {vias:?}"));
    }
    for field in ["From", "Call-ID", "CSeq"] {
        if response.header(field) != request.header(field) {
            faults.push(format!("{field} is not the request's: {:?} for {:?}", response.header(field), request.header(field)));
        }
    }
    let to = response.header("To");
    let bare = to.strip_prefix(request.header("To")).is_some_and(|rest| rest.is_empty() || rest.starts_with(';'));
    if !bare {
        faults.push(format!("To is not the request's: {to:?} for {:?}", request.header("To")));
    }
    if status > 100 && parameter(to, "tag").is_none_or(str::is_empty) {
        faults.push("To has no tag".to_owned());
    }
    let begins = parameter(request.header("To"), "tag").is_none();
    if (200..300).contains(&status) && begins && matches!(method, "INVITE" | "SUBSCRIBE") {
        let ours = request.list("Record-Route");
        let back = response.list("Record-Route");
        if !back.ends_with(&ours) {
            faults.push(format!("the Record-Routes are not returned unchanged and in order: {back:?} for {ours:?}"));
        }
    }
    match (method, status) {
        ("INVITE", 202) => faults.push("202 to an INVITE, for which clients send no ACK".to_owned()),
        ("INVITE", 200..300) => {
            if !uri(response.header("Contact")).starts_with("sip:") {
                faults.push("an INVITE is accepted without a Contact".to_owned());
            }
            of_answer(response, &mut faults);
        }
        ("SUBSCRIBE", 200..300) => {
            if response.header("Expires").parse::<u32>().is_err() {
                faults.push("a SUBSCRIBE is accepted without Expires".to_owned());
            }
            if status == 202 {
                faults.push("202 to a SUBSCRIBE: clients expect 200".to_owned());
            }
        }
        (_, 420) => faults.push("420: ms-benotify in Proxy-Require is to be understood".to_owned()),
        ("NEGOTIATE", 483) => faults.push("483 to a NEGOTIATE, whose Max-Forwards is 0 on purpose".to_owned()),
        _ => {}
    }
    faults
}

fn of_answer(response: &Message, faults: &mut Vec<String>) {
    let text = response.text();
    if !text.contains("m=message ") && !text.contains("m=x-ms-message ") {
        faults.push("an INVITE is accepted without a message session".to_owned());
    }
    if !text.contains("a=accept-types:") {
        faults.push("a session without accept-types".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange() -> (Message, Message) {
        let mut request = Message::request("SUBSCRIBE", "sip:bob@fabrikam.example");
        request.push("Record-Route", "<sip:sip.contoso.example;lr;ms-route-sig=1>");
        request.push("Record-Route", "<sip:pool.contoso.example;lr;ms-route-sig=2>");
        request.push("Via", "SIP/2.0/TLS sip.contoso.example:5061;branch=z9hG4bK1;branched=FALSE");
        request.push("Via", "SIP/2.0/tcp 127.0.0.1:50274;ms-received-cid=100");
        request.push("From", "<sip:alice@contoso.example>;tag=1;epid=d8");
        request.push("To", "<sip:bob@fabrikam.example>");
        request.push("Call-ID", "a");
        request.push("CSeq", "1 SUBSCRIBE");
        let mut response = request.response(200, "OK", "2");
        for record in request.all("Record-Route") {
            response.push("Record-Route", record);
        }
        response.push("Expires", "3600");
        (request, response)
    }

    #[test]
    fn a_faithful_answer_has_no_fault() {
        let (request, response) = exchange();
        assert_eq!(of_response(&request, &response), Vec::<String>::new());
    }

    #[test]
    fn each_change_on_the_way_is_a_fault() {
        let (request, good) = exchange();
        let changes: [fn(&mut Message); 7] = [
            |response| response.headers[1].1 = "SIP/2.0/TCP 127.0.0.1:50274;ms-received-cid=100".to_owned(),
            |response| response.remove("Via"),
            |response| response.set("From", "<sip:alice@contoso.example>;tag=1"),
            |response| response.set("To", "<sip:bob@fabrikam.example>"),
            |response| response.set("Record-Route", "<sip:sip.contoso.example;lr>"),
            |response| response.remove("Expires"),
            |response| response.push("Supported", "a, b"),
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut response = good.clone();
            change(&mut response);
            assert!(!of_response(&request, &response).is_empty(), "change {number}");
        }
    }
}
