//! The dialling side of an XMPP server up to the features of the secured stream: what it is offered shows what its certificate has proved.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::certificates::Identity;
use crate::tls_sip_peer::client_configuration;

const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Dials, does STARTTLS and shows `identity`; what the server of `to` then says to `from`: its
/// features, or the error that ends the stream. `authority` (PEM) is trusted.
pub fn answer(address: SocketAddr, from: &str, to: &str, identity: Option<&Identity>, authority: &str) -> String {
    let mut socket = TcpStream::connect(address).expect("the peer listens");
    socket.set_read_timeout(Some(ANSWER_WITHIN)).expect("an open socket takes options");
    let opening = format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
         xmlns:db='jabber:server:dialback' from='{from}' to='{to}' version='1.0'>"
    );
    socket.write_all(opening.as_bytes()).expect("the peer takes it");
    read_until(&mut socket, &["</stream:features>"]);
    socket.write_all(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").expect("the peer takes it");
    read_until(&mut socket, &["<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"]);
    let name = ServerName::try_from(to.to_owned()).expect("a test name is a host name");
    let configuration = Arc::new(client_configuration(identity, authority));
    let connection = ClientConnection::new(configuration, name).expect("the name suits");
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(opening.as_bytes()).expect("the peer takes it");
    read_until(&mut stream, &["</stream:features>", "</stream:stream>"])
}

/// Everything up to one of these, one byte at a time, so that nothing behind it is taken.
fn read_until(stream: &mut impl Read, ends: &[&str]) -> String {
    let mut heard = String::new();
    let mut byte = [0];
    while !ends.iter().any(|end| heard.ends_with(end)) {
        let count = stream.read(&mut byte).expect("the peer answers in time");
        assert!(count > 0, "the peer closed after: {heard}");
        heard.push(char::from(byte[0]));
    }
    heard
}
