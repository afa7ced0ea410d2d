//! The streams that the hub opens to a peer.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::xml::{Element, Frame, Reader, escape};
use super::{Shared, bare, broken, domain_of, expect_element, expect_open, header};
use crate::faults::peer::PeerEvent;
use crate::faults::wire::{OPENING, Tls};

static STREAMS: AtomicU64 = AtomicU64::new(0);

/// Serves one connection to its end.
pub(super) fn serve(shared: &Arc<Shared>, socket: TcpStream) -> io::Result<()> {
    let (tls, mut reader) = open(shared, socket)?;
    tls.set_patience(None)?;
    let mut handled = 0;
    loop {
        while let Some(frame) = reader.next().map_err(|_| broken())? {
            match frame {
                Frame::Element(element) => {
                    if !stanza(shared, &tls, &element, &mut handled)? {
                        return Ok(());
                    }
                }
                Frame::Open(_) => return Err(broken()),
                Frame::Close => return tls.write(b"</stream:stream>"),
            }
        }
        if tls.read(reader.input())? == 0 {
            return Ok(());
        }
    }
}

/// TLS and SASL EXTERNAL. The certificate of the hub must be of the authority; its names are not looked at.
fn open(shared: &Shared, mut socket: TcpStream) -> io::Result<(Tls, Reader)> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(OPENING))?;
    let mut reader = Reader::default();
    let opened = expect_open(&mut socket, &mut reader)?;
    let features = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>";
    io::Write::write_all(&mut socket, (answer(shared, &opened)? + features).as_bytes())?;
    expect_element(&mut socket, &mut reader)?.is("starttls")?;
    io::Write::write_all(&mut socket, b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")?;
    let mut tls = shared.credentials.accepted(socket)?;
    let mut reader = Reader::default();
    let opened = expect_open(&mut tls, &mut reader)?;
    let features = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>\
                    </stream:features>";
    tls.write((answer(shared, &opened)? + features).as_bytes())?;
    let auth = expect_element(&mut tls, &mut reader)?;
    auth.is("auth")?;
    if auth.attribute("mechanism") != Some("EXTERNAL") {
        return Err(broken());
    }
    tls.write(b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")?;
    let mut reader = Reader::default();
    let opened = expect_open(&mut tls, &mut reader)?;
    let features = "<stream:features><sm xmlns='urn:xmpp:sm:3'/></stream:features>";
    tls.write((answer(shared, &opened)? + features).as_bytes())?;
    Ok((tls, reader))
}

/// The opening tag that answers one; it must be for this domain.
fn answer(shared: &Shared, opened: &Element) -> io::Result<String> {
    if opened.attribute("to") != Some(&shared.domain) {
        return Err(broken());
    }
    let remote = opened.attribute("from").ok_or_else(broken)?;
    let id = format!("{}-{}", shared.domain, STREAMS.fetch_add(1, Ordering::Relaxed));
    Ok(header(&shared.domain, remote, Some(&id)))
}

/// Whether the stream goes on.
fn stanza(shared: &Arc<Shared>, tls: &Tls, element: &Element, handled: &mut u32) -> io::Result<bool> {
    let attribute = |name| element.attribute(name).unwrap_or_default();
    match element.name() {
        "message" if attribute("type") == "error" => {
            let error = element.child("error");
            let condition = error.and_then(|error| error.children.iter().find(|child| child.name() != "text"));
            let why = condition.map_or(String::new(), |condition| condition.name().to_owned());
            let id = attribute("id").to_owned();
            let refused = shared.outgoing(domain_of(attribute("from"))).refuse(&id);
            let temporary = error.and_then(|error| error.attribute("type")) == Some("wait");
            shared.tell(if refused { PeerEvent::Refused { id, why, temporary } } else { PeerEvent::Bounced { id, why } });
        }
        "message" => {
            if let Some(body) = element.child("body") {
                if shared.poison.as_ref().is_some_and(|poison| body.text.contains(poison.as_str())) {
                    tls.write(
                        b"<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>",
                    )?;
                    return Ok(false);
                }
                let (from, to) = (bare(attribute("from")).to_owned(), bare(attribute("to")).to_owned());
                shared.tell(PeerEvent::Received { from, to, body: body.text.clone() });
            }
        }
        "iq" if matches!(attribute("type"), "get" | "set") => {
            // Between servers an answer goes on the answering server's own stream.
            let content = match element.children.first() {
                Some(ping) if ping.declares("urn:xmpp:ping") => "type='result'/>",
                Some(info) if info.declares("http://jabber.org/protocol/disco#info") => {
                    "type='result'><query xmlns='http://jabber.org/protocol/disco#info'><identity category='server' type='im'/>\
                     <feature var='http://jabber.org/protocol/disco#info'/><feature var='urn:xmpp:ping'/></query></iq>"
                }
                _ => {
                    "type='error'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
                }
            };
            let [from, to, id] = ["to", "from", "id"].map(|name| escape(attribute(name)));
            shared.outgoing(domain_of(attribute("from"))).push(None, format!("<iq from='{from}' to='{to}' id='{id}' {content}"));
        }
        "iq" | "presence" => {}
        "enable" => {
            *handled = 0;
            tls.write(b"<enabled xmlns='urn:xmpp:sm:3'/>")?;
            return Ok(true);
        }
        "r" => {
            tls.write(format!("<a xmlns='urn:xmpp:sm:3' h='{handled}'/>").as_bytes())?;
            return Ok(true);
        }
        "error" => return Ok(false),
        _ => return Ok(true),
    }
    *handled = handled.wrapping_add(1);
    Ok(true)
}
