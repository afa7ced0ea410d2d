use proptest::prelude::*;

use super::*;

fn read(inside: &str) -> Pidf {
    let text = format!(
        "<presence xmlns='{PIDF}' xmlns:dm='{DATA_MODEL}' xmlns:rpid='{RPID}' xmlns:old='{}' entity='sip:bob@b.example'>{inside}</presence>",
        OLD_RPID[0]
    );
    Pidf::read(text.as_bytes()).unwrap()
}

fn open(more: &str) -> String {
    format!("<tuple id='a'><status><basic>open</basic>{more}</status></tuple>")
}

fn person(activity: &str) -> String {
    format!("<dm:person id='p'><rpid:activities><rpid:{activity}/></rpid:activities></dm:person>")
}

/// RFC 3863 §4.3.2.
#[test]
fn the_example_of_the_rfc() {
    let text = r#"<?xml version="1.0" encoding="UTF-8"?>
     <impp:presence xmlns:impp="urn:ietf:params:xml:ns:pidf"
          entity="pres:someone@example.com">
       <impp:tuple id="sg89ae">
         <impp:status>
           <impp:basic>open</impp:basic>
         </impp:status>
         <impp:contact priority="0.8">tel:+09012345678</impp:contact>
       </impp:tuple>
     </impp:presence>"#;
    let document = Pidf::read(text.as_bytes()).unwrap();
    assert_eq!(document.entity, "pres:someone@example.com");
    let [tuple] = &document.tuples[..] else { panic!("{document:?}") };
    assert_eq!((tuple.id.as_str(), tuple.is_open, tuple.priority), ("sg89ae", Some(true), Some(800)));
    assert_eq!(tuple.contact.as_deref(), Some("tel:+09012345678"));
    assert_eq!(document.word(), Word::Available);
}

#[test]
fn the_words_of_documents() {
    for (inside, word) in [
        (String::new(), Word::Unknown),
        (open(""), Word::Available),
        ("<tuple id='a'><status><basic>closed</basic></status></tuple>".to_owned(), Word::Offline),
        // Closed beats every activity.
        (format!("<tuple id='a'><status><basic>closed</basic></status></tuple>{}", person("busy")), Word::Offline),
        (person("meeting"), Word::InMeeting),
        (open("") + &person("on-the-phone"), Word::InCall),
        (open("") + &person("presentation"), Word::Presenting),
        (open("") + &person("appointment"), Word::InMeeting),
        (open("") + &person("busy"), Word::Busy),
        (open("") + &person("lunch"), Word::Away),
        (open("") + &person("vacation"), Word::LongAway),
        (open("") + &person("other"), Word::Available),
        // Older clients put it into the tuple.
        (open("<rpid:activities><rpid:away/></rpid:activities>"), Word::Away),
        (open("<old:activities><old:busy/></old:activities>"), Word::Busy),
        (open("<old:activities><old:activity>meeting</old:activity></old:activities>"), Word::InMeeting),
        (open("<show xmlns='jabber:client'>xa</show>"), Word::LongAway),
        (open("<show xmlns='jabber:client'>chat</show>"), Word::Free),
        // What we write ourselves comes back as it was.
        (open("<show xmlns='jabber:client'>dnd</show>") + &person("busy"), Word::DoNotDisturb),
        (open("<show xmlns='jabber:client'>dnd</show>") + &person("on-the-phone"), Word::InCall),
        // Case 61.
        ("<tuple id='a'><status><basic>open</basic></status><note>On the phone</note></tuple>".to_owned(), Word::InCall),
        (open("") + "<note>be right BACK</note>", Word::BeRightBack),
        (open("") + "<note>Away from it all</note>", Word::Available),
    ] {
        assert_eq!(read(&inside).word(), word, "{inside}");
    }
}

#[test]
fn another_document_is_a_fault() {
    for text in [
        "",
        "<presence/>",
        "<presence xmlns='urn:ietf:params:xml:ns:pidf'/>",
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity=' '/>",
    ] {
        assert!(Pidf::read(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn case_59_ids_are_valid_and_stable() {
    for device in ["1phone é", "", "a:b", "x"] {
        let id = id_of(device);
        assert!(id.starts_with("ID-") && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
        assert_eq!(id, id_of(device));
    }
    assert_ne!(id_of("a"), id_of("b"));
}

#[test]
fn case_60_priorities_survive() {
    for priority in 0..=127 {
        let q = q_of_priority(priority).unwrap();
        assert_eq!(priority_of_q(thousandths(&q_value(q)).unwrap()), priority);
    }
    assert_eq!((q_of_priority(127), q_of_priority(0), q_of_priority(-1)), (Some(1000), Some(0), None));
    for (text, want) in [
        ("1", Some(1000)),
        ("1.000", Some(1000)),
        ("0.5", Some(500)),
        (".25", Some(250)),
        ("0", Some(0)),
        ("1.1", None),
        ("2", None),
        ("0.1234", None),
        ("", None),
        ("-1", None),
        ("x", None),
    ] {
        assert_eq!(thousandths(text), want, "{text}");
    }
    assert_eq!((q_value(1000), q_value(0), q_value(500), q_value(8)), ("1".into(), "0".into(), "0.5".into(), "0.008".into()));
}

fn note() -> impl Strategy<Value = Option<Note>> {
    let text = any::<String>()
        .prop_map(|text| text.trim().replace(|c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'), ""));
    let text = text.prop_map(|text| text.trim().to_owned()).prop_filter("not empty", |text| !text.is_empty());
    proptest::option::of((text, proptest::option::of("[a-z]{2}")).prop_map(|(text, language)| Note { text, language }))
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        user in "[a-z<>&'\"]{1,10}", notes in (note(), note(), note()), basic in proptest::option::of(any::<bool>()),
        activity in proptest::option::of("(busy|away|on-the-phone)"), priority in proptest::option::of(0u16..=1000),
    ) {
        let activities: Vec<String> = activity.into_iter().collect();
        let tuple = Tuple {
            id: id_of(&user), is_open: basic, show: Some("dnd".to_owned()), activities: activities.clone(),
            contact: Some(format!("sip:{user}@b.example")), priority, note: notes.0,
        };
        let document = Pidf {
            entity: format!("sip:{user}@b.example"), tuples: vec![tuple], person: Some(Person { activities, note: notes.1 }), note: notes.2,
        };
        prop_assert_eq!(Pidf::read(document.write().as_bytes()).unwrap(), document);
    }
}
