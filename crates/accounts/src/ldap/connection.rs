//! One connection to a directory: a request, its answer, the next request.

use std::net::IpAddr;

use interchange_driver::{Caller, Reach};
use ldap_codec::{Entry, Operation, Outcome, Response, Responses, Search, code};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::settings::{LdapPlace, Security};

/// A stream of bytes both ways.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// A connection on which nothing is asked. After an error it is of no use any more.
pub(super) struct Connection {
    wire: Box<dyn Wire>,
    responses: Responses,
    last: u32,
}

impl Connection {
    /// Connects, with TLS unless the settings do without.
    pub(super) async fn open(caller: &Caller, place: &LdapPlace) -> Result<Self, String> {
        let mut tcp = caller.connect(&place.host, place.port).await?;
        let secured = match &place.security {
            Security::Tls(name) => caller.secure(tcp, name).await?,
            Security::StartTls(name) => {
                start_tls(&mut tcp).await?;
                caller.secure(tcp, name).await?
            }
            Security::None => {
                let address = tcp.peer_addr().map_err(|error| error.to_string())?.ip();
                may_be_clear(address)?;
                return Ok(Self::new(tcp));
            }
        };
        Ok(Self::new(secured))
    }

    fn new(wire: impl Wire + 'static) -> Self {
        Self { wire: Box::new(wire), responses: Responses::default(), last: 0 }
    }

    /// Tries a name with a password, and is theirs if it succeeds. An empty password is none.
    pub(super) async fn bind(&mut self, name: &str, password: &str) -> Result<Outcome, String> {
        let id = self.next_id();
        let request = ldap_codec::bind(id, name, password).ok_or("an empty password binds nobody")?;
        self.send(&request).await?;
        match self.receive(id).await? {
            Operation::Bind(outcome) => Ok(outcome),
            _ => Err("it answers something else than the bind".to_owned()),
        }
    }

    /// The entries that were found, at most as many as were asked for, and how the search has ended.
    pub(super) async fn search(&mut self, search: &Search<'_>) -> Result<(Vec<Entry>, Outcome), String> {
        let id = self.next_id();
        self.send(&ldap_codec::search(id, search)).await?;
        let mut entries = Vec::new();
        loop {
            match self.receive(id).await? {
                Operation::Entry(_) if entries.len() >= search.most as usize => {
                    return Err("it sends more entries than were asked for".to_owned());
                }
                Operation::Entry(entry) => entries.push(entry),
                // Where else one could look is for people to configure.
                Operation::Reference => {}
                Operation::Done(outcome) => return Ok((entries, outcome)),
                _ => return Err("it answers something else than the search".to_owned()),
            }
        }
    }

    fn next_id(&mut self) -> u32 {
        // RFC 4511 §4.1.1.1: from 1 to 2³¹ - 1.
        self.last = if self.last >= i32::MAX as u32 { 1 } else { self.last + 1 };
        self.last
    }

    async fn send(&mut self, request: &[u8]) -> Result<(), String> {
        let sent = async {
            self.wire.write_all(request).await?;
            self.wire.flush().await
        };
        sent.await.map_err(|error| format!("the connection broke: {error}"))
    }

    async fn receive(&mut self, id: u32) -> Result<Operation, String> {
        let response = receive(&mut self.wire, &mut self.responses).await?;
        match response {
            Response { id: answered, operation } if answered == id => Ok(operation),
            Response { id: 0, operation: Operation::Extended(outcome) } => {
                Err(format!("it hangs up (code {}): {}", outcome.code, outcome.text))
            }
            _ => Err("it answers what was not asked".to_owned()),
        }
    }
}

/// Passwords do not travel in the clear to the public.
fn may_be_clear(address: IpAddr) -> Result<(), String> {
    match Reach::public().check(address) {
        Err(_not_public) => Ok(()),
        Ok(()) => Err(format!("{address} is a public address, where passwords do not go in the clear: use TLS")),
    }
}

/// Asks for TLS. RFC 4511 §4.14.
async fn start_tls(tcp: &mut TcpStream) -> Result<(), String> {
    let broke = |error: std::io::Error| format!("the connection broke: {error}");
    tcp.write_all(&ldap_codec::start_tls(1)).await.map_err(broke)?;
    let mut responses = Responses::default();
    match receive(tcp, &mut responses).await? {
        Response { id: 1, operation: Operation::Extended(Outcome { code: code::SUCCESS, .. }) } => {}
        Response { operation: Operation::Extended(Outcome { code, text }), .. } => {
            return Err(format!("it does not do StartTLS (code {code}): {text}"));
        }
        _ => return Err("it answers something else than StartTLS".to_owned()),
    }
    // What came before the handshake was put there by whoever sits between.
    if !responses.is_empty() {
        return Err("something was sent in the clear behind the answer to StartTLS".to_owned());
    }
    Ok(())
}

async fn receive(wire: &mut (impl AsyncRead + Unpin + ?Sized), responses: &mut Responses) -> Result<Response, String> {
    let mut bytes = [0; 8192];
    loop {
        if let Some(response) = responses.take().map_err(|error| error.to_string())? {
            return Ok(response);
        }
        match wire.read(&mut bytes).await {
            Ok(0) => return Err("it closed the connection".to_owned()),
            Ok(count) => responses.push(&bytes[..count]),
            Err(error) => return Err(format!("the connection broke: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_do_not_travel_in_the_clear_to_the_public() {
        for address in ["127.0.0.1", "10.1.2.3", "::1", "fd00::1", "192.168.0.1"] {
            assert!(may_be_clear(address.parse().unwrap()).is_ok(), "{address}");
        }
        for address in ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"] {
            assert!(may_be_clear(address.parse().unwrap()).is_err(), "{address}");
        }
    }

    /// A server that says this, whatever it hears.
    async fn says(bytes: &'static [u8]) -> Connection {
        let (mut server, client) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move {
            let mut heard = [0; 1024];
            let _ = server.read(&mut heard).await;
            let _ = server.write_all(bytes).await;
            let _ = server.read(&mut heard).await;
        });
        Connection::new(client)
    }

    const SUCCESS: &[u8] = &[0x30, 12, 2, 1, 1, 0x61, 7, 10, 1, 0, 4, 0, 4, 0];

    #[tokio::test]
    async fn an_answer_is_one_to_what_was_asked() {
        assert_eq!(says(SUCCESS).await.bind("cn=a", "secret").await.unwrap().code, code::SUCCESS);
        for (bytes, wanted) in [
            // Another number; a search's end; the server's goodbye; no LDAP; nothing.
            (&[0x30, 12, 2, 1, 2, 0x61, 7, 10, 1, 0, 4, 0, 4, 0][..], "not asked"),
            (&[0x30, 12, 2, 1, 1, 0x65, 7, 10, 1, 0, 4, 0, 4, 0], "something else"),
            (&[0x30, 14, 2, 1, 0, 0x78, 9, 10, 1, 52, 4, 0, 4, 2, b'o', b'k'], "it hangs up (code 52): ok"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no LDAP"),
        ] {
            let error = says(bytes).await.bind("cn=a", "secret").await.unwrap_err();
            assert!(error.contains(wanted), "{wanted}: {error}");
        }
        // Never asked at all.
        assert!(says(SUCCESS).await.bind("cn=a", "").await.unwrap_err().contains("empty password"));
    }

    #[tokio::test]
    async fn no_more_entries_are_taken_than_were_asked_for() {
        let entry = &[0x30, 13, 2, 1, 1, 0x64, 8, 4, 4, b'c', b'n', b'=', b'a', 0x30, 0][..];
        let flood: &'static [u8] = Box::leak(entry.repeat(3).into_boxed_slice());
        let filter = ldap_codec::Filter::Present { attribute: "cn".into() };
        let search = Search { base: "", filter: &filter, attributes: &["cn"], most: 2, seconds: 1 };
        assert!(says(flood).await.search(&search).await.unwrap_err().contains("more entries"));
    }

    #[tokio::test]
    async fn nothing_that_came_in_the_clear_is_taken_after_starttls() {
        for (bytes, says) in [
            (&[0x30, 12, 2, 1, 1, 0x78, 7, 10, 1, 0, 4, 0, 4, 0][..], ""),
            (&[0x30, 12, 2, 1, 1, 0x78, 7, 10, 1, 0, 4, 0, 4, 0, 0x30], "in the clear"),
            (&[0x30, 12, 2, 1, 1, 0x78, 7, 10, 1, 2, 4, 0, 4, 0], "does not do StartTLS (code 2)"),
            (SUCCESS, "something else"),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            server.write_all(bytes).await.unwrap();
            let result = start_tls(&mut tcp).await;
            assert!(if says.is_empty() { result.is_ok() } else { result.as_ref().unwrap_err().contains(says) }, "{result:?}");
        }
    }
}
