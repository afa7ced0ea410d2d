//! Vector 14: two real clients behind two edges. The hub is the edge of `fabrikam.example` in it, with all that is behind that.

use interchange_model::{Body, Outcome, PresenceState, Typing, TypingState};

use crate::common::*;
use crate::recorded::play::Play;

const BOB: &str = "bob@fabrikam.example";
const ALICE: &str = "alice@contoso.example";

#[test]
fn vector_14_two_clients_and_compression_that_is_refused() {
    let mut play = Play::new("14-two-clients-federated-2007.sip", EDGE);
    play.not_ours_without("partner", "between a client and its own pool");
    play.asks_and_answers(20, 22);
    super::presence::subscribes(&mut play, 21, 23);
    play.hub.deliver(1, text(1, BOB, ALICE, "hi from bob <b> & co"));
    let invite = play.says(25);
    play.hears(&invite, 28);
    let sent = play.hub.wire(play.own);
    play.says_this(&sent[0], 29);
    play.says_this(&sent[1], 31);
    assert_eq!(sent[1].body, play.recorded(31).body);
    play.hears(&sent[1], 34);
    assert_eq!(play.hub.settled(), [(1, Outcome::Delivered)]);
    let typing = Body::Typing(Typing { state: TypingState::Composing, conversation: None });
    play.hub.tell(interchange_model::Envelope { body: typing, ..text(1, BOB, ALICE, "") });
    let info = play.says(35);
    assert_eq!(info.body, play.recorded(35).body);
    // Alice writes meanwhile: her first request in a dialog that she has not begun.
    play.asks(38);
    let envelope = play.hub.store_one();
    assert_eq!(words(&envelope), play.recorded(38).body);
    assert!(matches!(&envelope.body, Body::Text(text) if text.rich.as_ref().is_some_and(|rich| rich.is_formatted())), "bold");
    play.answers(38, 41);
    play.hears(&info, 40);
    play.writes(44, 45);
    play.asks_and_answers(48, 49);
    super::presence::shows(&mut play, 51, BOB, PresenceState::InMeeting, false);
    let sent = play.hub.live(play.own, 20 * 60);
    let bye = sent.iter().find(|wire| wire.method() == "BYE").expect("nothing is said any more");
    play.says_this(bye, 53);
    play.hears(bye, 56);
    for wire in sent.iter().filter(|wire| wire.method() != "BYE") {
        play.hub.receive(play.own, wire.answer(200, ""));
    }
    super::presence::unsubscribes(&mut play, 62, 63, 64, 65);
    play.account(24);
}
