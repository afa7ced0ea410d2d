use proptest::prelude::*;

use super::*;

const NOW: &str = "2026-11-23T04:12:49Z";

fn document(state: Option<State>, note: Note) -> Document {
    Document { uri: "sip:bob@fabrikam.example".to_owned(), state, note }
}

/// From the recorded conversations.
const CATEGORIES: &str = r#"<categories xmlns="http://schemas.microsoft.com/2006/09/sip/categories" uri="sip:bob@fabrikam.example"><category name="contactCard" instance="0" publishTime="2026-11-23T04:12:49Z"><contactCard xmlns="http://schemas.microsoft.com/2006/09/sip/contactcard"><identity><name><displayName>Bob</displayName></name><email>bob@fabrikam.example</email></identity></contactCard></category><category name="note" instance="0" publishTime="2026-11-23T04:12:49Z"><note xmlns="http://schemas.microsoft.com/2006/09/sip/note"><body type="personal" uri="">In a call</body></note></category><category name="state" instance="1" publishTime="2026-11-23T04:12:49Z"><state xmlns="http://schemas.microsoft.com/2006/09/sip/state" manual="false" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="aggregateState"><availability>6500</availability><activity token="on-the-phone"/></state></category></categories>"#;
const LEGACY: &str = r#"<presentity uri="bob@fabrikam.example" xmlns="http://schemas.microsoft.com/2002/09/sip/presence"><availability aggregate="300" description="" epid="0123456789"/><activity aggregate="600" description="" note=""/><displayName displayName="Bob"/><email email="bob@fabrikam.example"/><userInfo xmlns=""><note>In a call</note></userInfo></presentity>"#;
const PIDF: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:es="urn:ietf:params:xml:ns:pidf:status:rpid-status" entity="sip:bob@fabrikam.example"><tuple id="0"><status><basic>open</basic><es:activities><es:activity>busy</es:activity></es:activities></status></tuple></presence>"#;

#[test]
fn the_recorded_documents_are_read() {
    let note = Note::Is("In a call".to_owned());
    let on_the_phone = State::doing(Availability::Busy, "on-the-phone");
    assert_eq!(Form::Categories.read(CATEGORIES.as_bytes()), Ok(document(Some(on_the_phone), note.clone())));
    assert_eq!(Form::Legacy.read(LEGACY.as_bytes()), Ok(document(Some(State::of(Availability::Busy)), note)));
    assert_eq!(Form::Pidf.read(PIDF.as_bytes()), Ok(document(Some(State::of(Availability::Busy)), Note::None)));
}

#[test]
fn a_category_that_is_not_there_says_nothing() {
    let only = |name: &str| {
        let begin = CATEGORIES.find(&format!("<category name=\"{name}\"")).unwrap();
        let end = begin + CATEGORIES[begin..].find("</category>").unwrap() + "</category>".len();
        format!("<categories uri=\"sip:bob@fabrikam.example\">{}</categories>", &CATEGORIES[begin..end])
    };
    let state = Form::Categories.read(only("state").as_bytes()).unwrap();
    assert_eq!((state.state.is_some(), state.note), (true, Note::Unchanged));
    let note = Form::Categories.read(only("note").as_bytes()).unwrap();
    assert_eq!((note.state, note.note), (None, Note::Is("In a call".to_owned())));
    let cleared = only("note").replace("In a call", "");
    assert_eq!(Form::Categories.read(cleared.as_bytes()).unwrap().note, Note::None);
    let empty = "<categories uri='sip:b@c.example'><category name='note' instance='0'/></categories>";
    assert_eq!(Form::Categories.read(empty.as_bytes()).unwrap().note, Note::None);
}

#[test]
fn when_somebody_was_last_active_stands_in_the_form_of_2007_alone() {
    let text =
        CATEGORIES.replace("xsi:type=\"aggregateState\"", "xsi:type=\"aggregateState\" lastActive=\"2012-07-12T13:58:54\"");
    let read = Form::Categories.read(text.as_bytes()).unwrap();
    assert_eq!(read.state.as_ref().and_then(|state| state.last_active.as_deref()), Some("2012-07-12T13:58:54"));
    for form in Form::ALL {
        let again = form.read(form.write(&read, NOW).as_bytes()).unwrap().state.unwrap();
        assert_eq!(again.last_active.is_some(), form == Form::Categories, "{form:?}");
    }
}

#[test]
fn numbers_stand_for_ranges() {
    use Availability::*;
    for (first, last, want) in [
        (0, 2_999, Offline),
        (3_000, 4_499, Available),
        (4_500, 5_999, Inactive),
        (6_000, 7_499, Busy),
        (7_500, 8_999, BusyInactive),
        (9_000, 11_999, DoNotDisturb),
        (12_000, 14_999, BeRightBack),
        (15_000, 17_999, Away),
        (18_000, u32::MAX, Offline),
    ] {
        assert_eq!((Availability::of_number(first), Availability::of_number(last)), (want, want), "{first}");
    }
    for (availability, number) in Availability::NUMBERS {
        assert_eq!((availability.number(), Availability::of_number(number)), (number, availability));
    }
}

#[test]
fn numbers_of_2005() {
    use Availability::*;
    let with = |there: u32, activity: u32| {
        let text =
            LEGACY.replace("aggregate=\"300\"", &format!("aggregate=\"{there}\"")).replace("\"600\"", &format!("\"{activity}\""));
        Form::Legacy.read(text.as_bytes()).unwrap().state.unwrap()
    };
    for (activity, want) in [
        (0, Away),
        (100, Away),
        (150, Away),
        (200, Inactive),
        (300, BeRightBack),
        (400, Available),
        (500, Busy),
        (600, Busy),
        (700, Away),
        (800, Available),
    ] {
        assert_eq!(with(300, activity).availability, want, "{activity}");
        assert_eq!(with(0, activity).availability, Offline, "{activity}");
    }
    assert_eq!(with(300, 500).activity.as_deref(), Some("on-the-phone"));
    assert_eq!(with(200, 400).availability, Away);
    // The number of 2007 wins where it is larger.
    let newer = |avail| LEGACY.replace("<note>", &format!("<states><state avail=\"{avail}\"/></states><note>"));
    assert_eq!(Form::Legacy.read(newer("9500").as_bytes()).unwrap().state, Some(State::of(DoNotDisturb)));
    assert_eq!(Form::Legacy.read(newer("3500").as_bytes()).unwrap().state, Some(State::of(Busy)));
}

#[test]
fn the_best_form_that_is_accepted_is_chosen() {
    let all = "application/msrtc-event-categories+xml, text/xml+msrtc.pidf, application/xpidf+xml, application/pidf+xml, application/rlmi+xml, multipart/related";
    assert_eq!(Form::choose(all.split(", ")), Some(Form::Categories));
    assert_eq!(Form::choose(["application/pidf+xml", "TEXT/XML+MSRTC.PIDF"]), Some(Form::Legacy));
    assert_eq!(Form::choose(["application/pidf+xml;q=1"]), Some(Form::Pidf));
    assert_eq!(Form::choose(["application/xpidf+xml"]), None);
}

#[test]
fn what_is_no_document_is_a_fault() {
    for form in Form::ALL {
        for text in ["", "<a/>", "<categories/>", "<presentity/>", "<presence xmlns='urn:ietf:params:xml:ns:pidf'/>", "x"] {
            assert!(form.read(text.as_bytes()).is_err(), "{form:?} {text}");
        }
    }
}

#[test]
fn nothing_known_is_said_as_such() {
    for form in [Form::Categories, Form::Pidf] {
        let text = form.write(&document(None, Note::None), NOW);
        assert_eq!(form.read(text.as_bytes()), Ok(document(None, Note::None)), "{text}");
    }
    // This form has no word for it.
    let legacy = Form::Legacy.write(&document(None, Note::None), NOW);
    assert_eq!(Form::Legacy.read(legacy.as_bytes()).unwrap().state, Some(State::of(Availability::Offline)));
}

proptest! {
    #[test]
    fn every_document_survives(number in 0u32..20_000, activity in proptest::option::of("[a-z-]{1,20}"), last_active in proptest::option::of("[0-9T:.Z-]{1,30}"), note in "[^\\p{C}]{0,80}") {
        let availability = Availability::of_number(number);
        let state = State { availability, activity, last_active };
        let note = if note.trim().is_empty() { Note::None } else { Note::Is(note.trim().to_owned()) };
        let whole = document(Some(state), note);
        prop_assert_eq!(Form::Categories.read(Form::Categories.write(&whole, NOW).as_bytes()), Ok(whole.clone()));
        // The others have fewer words: reading what was written, and writing that again, changes nothing.
        for form in [Form::Legacy, Form::Pidf] {
            let once = form.read(form.write(&whole, NOW).as_bytes()).unwrap();
            prop_assert_eq!(&once.note, &whole.note);
            prop_assert_eq!(form.read(form.write(&once, NOW).as_bytes()), Ok(once));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for form in Form::ALL {
            let _ = form.read(&bytes);
        }
    }
}
