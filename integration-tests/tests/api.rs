//! The API of a hub without any firm: who gets in, what it takes, what it gives away, and what outlives a crash.

use std::process::Command;
use std::time::Duration;

use interchange_integration_tests::api::{Api, read};
use interchange_integration_tests::certificates::Authority;
use interchange_integration_tests::hub::{Hub, HubFiles, binary};
use interchange_integration_tests::postgresql::{PASSWORD, PostgreSql};
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_change_that_is_sent_again_under_its_key_is_made_once() {
    let (files, _hub) = bare();
    let api = Api::new(files.admin.number(), &files.operator_token());
    let send = |key: &str, member: &str| {
        let change = json!({"change": "add-member", "member": member, "name": "M"});
        let request =
            api.agent.post(format!("{}changes", api.url)).header("Authorization", &api.token).header("Idempotency-Key", key);
        read(request.send_json(&change).expect("the hub answers"))
    };
    let (status, first) = send("k1", "acme");
    assert_eq!(status, 200);
    assert_eq!(send("k1", "acme"), (200, first));
    assert_eq!(send("k1", "other").0, 422);
    assert_eq!(send("k2", "acme").0, 409, "under another key it is another change");
    assert_eq!(
        api.get("audit").1.as_array().map(|rows| rows.iter().filter(|row| row["change"] == "add-member").count()),
        Some(1)
    );
}

/// A hub without any firm.
fn bare() -> (HubFiles, Hub) {
    bare_with(None)
}

fn bare_with(store: Option<&PostgreSql>) -> (HubFiles, Hub) {
    let mut files = HubFiles::new(&Authority::new("Test authority"));
    if let Some(server) = store {
        files.use_store(server);
    }
    files.configure(&Authority::new("Test authority"), &[]);
    let hub = files.start();
    (files, hub)
}

fn raw(port: u16, request: &str) -> String {
    use std::io::{Read, Write};
    let mut peer = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the hub listens");
    peer.set_read_timeout(Some(SOON)).expect("a timeout");
    peer.write_all(request.as_bytes()).expect("it takes a request");
    let mut answer = String::new();
    let _ = peer.read_to_string(&mut answer);
    answer
}

#[test]
fn abuse_37_without_the_right_token_there_is_nothing() {
    let (files, hub) = bare();
    let (port, token) = (files.admin.number(), files.operator_token());
    let secret = token.split_once('.').expect("NAME.SECRET").1;
    let no_answer_but_401 = |request: &str| {
        let answer = raw(port, request);
        assert!(
            answer.starts_with("HTTP/1.1 401 ") && answer.to_lowercase().contains("www-authenticate: bearer"),
            "{request}: {answer}"
        );
        assert!(!answer.contains("member") && !answer.contains(secret), "{answer}");
    };
    let wrong = [
        String::new(),
        "Authorization: Bearer operator\r\n".to_owned(),
        "Authorization: Bearer operator.\r\n".to_owned(),
        format!("Authorization: Bearer operator.{}\r\n", "A".repeat(43)),
        format!("Authorization: Bearer nobody.{secret}\r\n"),
        format!("Authorization: Bearer {secret}\r\n"),
        format!("Authorization: Basic {token}\r\n"),
        format!("Authorization: Bearer {token}x\r\n"),
        format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n"),
        format!("Authorization: Bearer {}\r\n", "x.".repeat(4000)),
        format!("Cookie: token={token}\r\n"),
        format!("X-HTTP-Method-Override: GET\r\nX-Forwarded-User: operator\r\nX-Original-URL: /metrics\r\nCookie: {token}\r\n"),
    ];
    for headers in &wrong {
        for target in ["GET /api/v1/members", "POST /api/v1/changes", "GET /api/v1/nothing", "DELETE /api/v1/members"] {
            no_answer_but_401(&format!("{target} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n{headers}\r\n"));
        }
    }
    for target in [format!("/api/v1/members?token={token}"), format!("/api/v1/members?access_token={token}")] {
        no_answer_but_401(&format!("GET {target} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n"));
    }
    // Tricks with the path lead nowhere.
    for target in [
        "/metrics/../api/v1/members",
        "//api/v1/members",
        "/api/v1/%6dembers",
        "/api/v1/members/",
        "/API/V1/members",
        "/livez/..%2fapi/v1/members",
    ] {
        let answer = raw(port, &format!("GET {target} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n"));
        assert!(
            ["401", "404", "400"].iter().any(|status| answer.starts_with(&format!("HTTP/1.1 {status}"))),
            "{target}: {answer}"
        );
    }
    // The right one opens, and the log has none of it.
    assert_eq!(Api::new(port, &token).get("members").0, 200);
    let log = hub.log();
    assert!(log.contains("a wrong token for the API") && !log.contains(secret), "{log}");
}

#[test]
fn abuse_38_another_site_s_form_does_nothing() {
    let (files, _hub) = bare();
    let (port, token) = (files.admin.number(), files.operator_token());
    let body = r#"{"change":"add-member","member":"evil","name":"<script>alert(1)</script>"}"#;
    let post = |media: &str| {
        let head = format!(
            "POST /api/v1/changes HTTP/1.1\r\nHost: hub\r\nOrigin: http://evil.example\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n"
        );
        raw(port, &format!("{head}{media}Content-Length: {}\r\n\r\n{body}", body.len()))
    };
    for media in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: multipart/form-data; boundary=application/json\r\n",
    ] {
        assert!(post(media).starts_with("HTTP/1.1 415 "), "{media}");
    }
    assert_eq!(Api::new(port, &token).get("members").1.as_array().map(Vec::len), Some(1), "only the hub itself");
    let answer = post("Content-Type: application/json; charset=utf-8\r\n").to_lowercase();
    assert!(answer.starts_with("http/1.1 200 ") && answer.contains("x-content-type-options: nosniff"), "{answer}");
    assert!(!answer.contains("access-control") && !answer.contains("evil.example"), "{answer}");
    let preflight =
        raw(port, "OPTIONS /api/v1/changes HTTP/1.1\r\nHost: hub\r\nOrigin: http://evil.example\r\nConnection: close\r\n\r\n");
    assert!(preflight.starts_with("HTTP/1.1 401 ") && !preflight.to_lowercase().contains("access-control"), "{preflight}");
}

#[test]
fn abuse_39_bodies_are_bounded_and_nothing_unknown_is_taken() {
    let (files, _hub) = bare();
    let api = Api::new(files.admin.number(), &files.operator_token());
    // Nobody without a token has a body read: the answer comes before it does.
    let request = "POST /api/v1/changes HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 999999999\r\n\r\n";
    assert!(raw(files.admin.number(), request).starts_with("HTTP/1.1 401 "));
    let long = json!({"change": "add-member", "member": "a", "name": "x".repeat(70_000)});
    assert_eq!(api.post("changes", &long).0, 413);
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let answer = api
        .agent
        .post(format!("{}changes", api.url))
        .header("Authorization", &api.token)
        .content_type("application/json")
        .send(deep);
    assert_eq!(read(answer.expect("the hub answers")).0, 400);
    for unknown in [
        json!({"change": "add-member", "member": "a", "name": "A", "role": "operator"}),
        json!({"change": "set-user", "user": "a", "role": {"role": "operator"}, "token_hash": "x"}),
        json!({"change": "prove-domain", "domain": "a.example", "challenge": "x"}),
        json!({"change": "nothing"}),
        json!([]),
        json!(null),
    ] {
        assert_eq!(api.post("changes", &unknown).0, 400, "{unknown}");
    }
    // Where the hub may dial is for its own configuration to say.
    api.change(json!({"change": "add-member", "member": "a", "name": "A"}));
    api.change(json!({"change": "add-domain", "member": "a", "domain": "a.example"}));
    api.change(json!({"change": "vouch-domain", "domain": "a.example"}));
    let link = json!({"change": "set-link", "link": "a", "member": "a", "platform": "xmpp", "domains": ["a.example"], "settings": {"allow_targets": ["0.0.0.0/0"]}});
    assert!(api.refused(link, 422).contains("settings of link `a`"));
    for query in ["audit?limit=x", "audit?until=-1", "audit?nothing=1"] {
        assert_eq!(api.get(query).0, 400, "{query}");
    }
    assert_eq!(api.get("audit?limit=4000000000").0, 200);
}

#[test]
fn abuse_40_no_secret_can_be_read_back() {
    use std::os::unix::fs::PermissionsExt;
    let (files, hub) = bare();
    let (port, token) = (files.admin.number(), files.operator_token());
    let api = Api::new(port, &token);
    let (status, answer) = api.post("users", &json!({"user": "eve", "role": "auditor"}));
    assert_eq!(status, 201);
    let other = answer["token"].as_str().expect("a token").to_owned();
    let eve = Api::new(port, &other);
    assert_eq!(
        eve.refused(json!({"change": "remove-user", "user": "operator"}), 403),
        "only an operator may remove-user; eve is auditor"
    );
    assert_eq!(eve.post("users", &json!({"user": "eve", "role": "operator"})).0, 403);
    let mut seen = hub.log();
    for path in ["users", "audit", "members", "links", "domains", "partnerships"] {
        let (status, answer) = eve.get(path);
        assert_eq!(status, 200);
        seen.push_str(&answer.to_string());
    }
    seen.push_str(&raw(port, "GET /metrics HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n"));
    for secret in [&token, &other] {
        assert!(!seen.contains(secret.split_once('.').expect("NAME.SECRET").1));
    }
    assert!(!seen.contains("argon2") && !seen.contains("token_hash"), "{seen}");
    let file = files.configuration().with_file_name("data").join("operator.token");
    let mode = std::fs::metadata(file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A new token ends the old.
    assert_eq!(api.post("users", &json!({"user": "eve", "role": "auditor"})).0, 201);
    assert_eq!(eve.get("members").0, 401);
}

#[test]
fn a_copy_is_made_while_the_hub_runs_and_put_back_while_it_does_not() {
    let (files, hub) = bare();
    let command = |arguments: &[&str]| {
        let folder = files.configuration();
        let mut command = Command::new(binary());
        let output = command.args(arguments).current_dir(folder.parent().expect("it is in a folder")).output().expect("it runs");
        (
            output.status.success(),
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
        )
    };
    let add = |name: &str| command(&["member", "add", name, name]);
    assert!(add("before").0);
    let copied = command(&["backup", "copy.db"]);
    assert!(copied.0, "{}", copied.1);
    assert!(add("after").0);
    let refused = command(&["restore", "copy.db"]);
    assert!(!refused.0 && refused.1.contains("is in use: stop the hub first"), "{}", refused.1);
    assert!(command(&["member", "list"]).1.contains("after"), "nothing has changed");
    drop(hub);
    let restored = command(&["restore", "copy.db"]);
    assert!(restored.0, "{}", restored.1);
    let _hub = files.start();
    let (_, members) = command(&["member", "list"]);
    assert!(members.contains("before") && !members.contains("after"), "{members}");
    // Its users are as they were, and it goes on from there.
    assert!(add("again").0);
}

/// SIGKILL in the midst of changes, twenty times: what was answered is there, and what is there is whole.
#[test]
fn a_crash_leaves_each_change_whole_or_absent() {
    let (files, hub) = bare();
    crash(&files, hub);
}

/// The same, with what is registered in a PostgreSQL.
#[test]
fn a_crash_leaves_each_change_whole_or_absent_on_postgresql() {
    let server = PostgreSql::start();
    let (files, hub) = bare_with(Some(&server));
    crash(&files, hub);
    // It was there, and nowhere else.
    assert!(server.ask("SELECT count(*) FROM entry WHERE kind = 'member'").parse::<u32>().expect("a number") >= 20);
}

fn crash(files: &HubFiles, mut hub: Hub) {
    let token = files.operator_token();
    let (mut answered, mut number) = (Vec::new(), 0);
    for round in 0..20_u64 {
        // From the first answer on, however slow the machine is.
        let (first, answers) = std::sync::mpsc::channel();
        let killer = std::thread::spawn(move || {
            let _ = answers.recv_timeout(Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(17 * round));
            drop(hub);
        });
        let api = Api::new(files.admin.number(), &token);
        loop {
            let member = format!("m{number}");
            number += 1;
            let change = json!({"change": "add-member", "member": member, "name": "M"});
            let answer = api.agent.post(format!("{}changes", api.url)).header("Authorization", &api.token).send_json(&change);
            match answer {
                Ok(answer) => {
                    assert_eq!(answer.status().as_u16(), 200);
                    answered.push(member);
                    let _ = first.send(());
                }
                Err(_) => break,
            }
        }
        killer.join().expect("it was killed");
        hub = files.start();
    }
    let api = Api::new(files.admin.number(), &token);
    let (_, members) = api.get("members");
    let there: Vec<_> = members.as_array().expect("a list").iter().filter_map(|row| row["member"].as_str()).collect();
    assert!(answered.len() >= 20, "{}", answered.len());
    for member in &answered {
        assert!(there.contains(&member.as_str()), "{member} was answered and is not there");
    }
    // At most one more in each round: committed, and the answer never came. Each has its audit row.
    let extra = there.len() - 1 - answered.len();
    assert!(extra <= 20, "{extra}");
    let (_, audit) = api.get("audit?limit=1000");
    let audited = audit.as_array().expect("a list").iter().filter(|row| row["change"] == "add-member").count();
    assert_eq!(audited.min(999), (there.len() - 1).min(999));
    println!("{} changes answered, {extra} more were there, in 20 crashes", answered.len());
}

/// Two hubs on one PostgreSQL: what one registers is live at the other within two seconds; what is wrong changes nothing at either; both go on while the
/// database is away, and say so.
#[test]
fn hubs_that_share_a_postgresql_know_the_same() {
    let mut server = PostgreSql::start();
    let (files, hub) = bare_with(Some(&server));
    let (others, other) = bare_with(Some(&server));
    // The first has made the first user, of both.
    let token = files.operator_token();
    assert!(!others.configuration().with_file_name("data").join("operator.token").exists());
    let (one, two) = (Api::new(files.admin.number(), &token), Api::new(others.admin.number(), &token));
    let knows = |api: &Api, member: &str| api.get("members").1.to_string().contains(&format!("\"member\":\"{member}\""));
    let within = |limit: Duration, what: &dyn Fn() -> bool| {
        let begun = std::time::Instant::now();
        while !what() {
            assert!(begun.elapsed() < limit, "not within {limit:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        begun.elapsed()
    };
    one.change(json!({"change": "add-member", "member": "acme", "name": "Acme"}));
    let took = within(Duration::from_secs(2), &|| knows(&two, "acme"));
    println!("at the other hub after {took:?}");
    two.change(json!({"change": "add-domain", "member": "acme", "domain": "acme.example"}));
    let versions =
        |api: &Api| api.get("audit").1.as_array().map(|rows| rows.iter().map(|row| row["version"].clone()).collect::<Vec<_>>());
    let before = versions(&one);
    let why = one.refused(
        json!({"change": "set-link", "link": "acme", "member": "acme", "platform": "xmpp", "domains": ["acme.example"]}),
        409,
    );
    assert!(why.contains("not proven"), "{why}");
    assert_eq!((versions(&one), versions(&two)), (before.clone(), before));
    // The way to a copy is said with the address, and without the password.
    let backup =
        Command::new(binary()).args(["backup", "copy.db", "--config"]).arg(files.configuration()).output().expect("it runs");
    let said = String::from_utf8_lossy(&backup.stderr).into_owned();
    assert!(!backup.status.success() && said.contains("pg_dump --format=custom -f copy.db postgresql://interchange@"), "{said}");
    let up = |api: &Api, wanted: &str| {
        let url = api.url.replace("/api/v1/", "/metrics");
        let metrics = api.agent.get(url).call().expect("the hub answers").body_mut().read_to_string().expect("text");
        metrics.contains(&format!("interchange_store_up {wanted}"))
    };
    assert!(up(&one, "1"));
    server.kill();
    within(SOON, &|| up(&one, "0") && up(&two, "0"));
    assert!(knows(&one, "acme") && knows(&two, "acme"), "they go on with what they know");
    let why = two.refused(json!({"change": "add-member", "member": "globex", "name": "G"}), 503);
    assert!(why.contains("database"), "{why}");
    server.start_again();
    within(SOON, &|| up(&one, "1") && up(&two, "1"));
    two.change(json!({"change": "add-member", "member": "initech", "name": "I"}));
    within(Duration::from_secs(2), &|| knows(&one, "initech"));
    // The copy is made, and put back, as the hub has said.
    let folder = files.configuration().with_file_name("copies");
    std::fs::create_dir_all(&folder).expect("it can be made");
    let type_in = |said: &str| {
        let (_, command) = said.trim().split_once("type ").expect("it says what to type");
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).env("PGPASSWORD", PASSWORD).current_dir(&folder);
        let output = shell.output().expect("there is a shell");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    };
    type_in(&said);
    one.change(json!({"change": "add-member", "member": "late", "name": "L"}));
    drop((hub, other));
    let restore =
        Command::new(binary()).args(["restore", "copy.db", "--config"]).arg(files.configuration()).output().expect("it runs");
    type_in(&String::from_utf8_lossy(&restore.stderr));
    let _again = others.start();
    assert!(knows(&two, "initech") && !knows(&two, "late"));
    two.change(json!({"change": "add-member", "member": "late", "name": "L"}));
}
