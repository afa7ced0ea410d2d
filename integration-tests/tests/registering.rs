//! Members and links that come while the hub runs: by the command line, as docs/quickstart.md has it, and by the API.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use interchange_integration_tests::api::Api;
use interchange_integration_tests::certificates::{Authority, Identity, Leaf};
use interchange_integration_tests::dns::{NameServer, ServiceRecord};
use interchange_integration_tests::hub::{HUB_DOMAIN, Hub, HubFiles, binary};
use interchange_integration_tests::kamailio::{Kamailio, KamailioSettings, SipPorts};
use interchange_integration_tests::ports::ReservedPort;
use interchange_integration_tests::processes::{Directory, Program};
use interchange_integration_tests::prosody;
use interchange_integration_tests::sip_client::{SipClient, Transport};
use interchange_integration_tests::xmpp_client::XmppClient;
use interchange_integration_tests::xmpp_server::{XmppPorts, XmppServer, XmppServerSettings};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

/// A hub without members, and two firms' servers that are ready for it.
struct Firms {
    files: HubFiles,
    hub: Option<Hub>,
    _names: NameServer,
    /// Where acme.example's own name servers will be.
    authority: Option<ReservedPort>,
    acme: XmppServer,
    globex: Kamailio,
    acme_port: u16,
    globex_port: u16,
}

impl Firms {
    fn start() -> Self {
        let authority = Authority::new("Test authority");
        let mut files = HubFiles::new(&authority);
        files.by_invitation();
        files.stand_for(&authority, &["acme.example", "globex.example"]);
        let (ports, globex_ports) = (XmppPorts::reserve(), SipPorts::reserve());
        let (acme_port, globex_port) = (ports.server.number(), globex_ports.tls.number());
        let mut records = vec![ServiceRecord::xmpp_server("acme.example", acme_port)];
        records.extend(["globex.example", HUB_DOMAIN].map(|domain| ServiceRecord::xmpp_server(domain, files.xmpp.number())));
        let authorities = NameServer::authorities("acme.example", &["ns1.acme.example", "ns2.acme.example"]);
        let names = NameServer::start_at(ReservedPort::any(), &records, &authorities);
        let own = ReservedPort::any();
        files.ask(names.port(), own.number());
        files.configure(&authority, &[]);
        let hub = Some(files.start());
        let acme = prosody::start(XmppServerSettings::new("acme.example", &["alice"], ports, &authority, &names));
        let settings = KamailioSettings::new("globex.example", globex_ports, &authority, files.sip.address(), HUB_DOMAIN);
        let globex = Kamailio::start(settings.with_partners(&["acme.example", HUB_DOMAIN]));
        Self { files, hub, _names: names, authority: Some(own), acme, globex, acme_port, globex_port }
    }

    fn people(&self) -> (XmppClient, SipClient) {
        (XmppClient::login(&self.acme, "alice"), SipClient::register(&self.globex, "bob", Transport::Tcp))
    }

    /// Acme publishes a record at its own name servers.
    fn publish(&mut self, name: &str, value: &str) -> NameServer {
        let name = name.trim_end_matches('.');
        let port = self.authority.take().expect("they do not run yet");
        NameServer::start_at(port, &[], &format!("txt-record={name},\"{value}\"\n"))
    }

    fn api(&self) -> Api {
        Api::new(self.files.admin.number(), &self.files.operator_token())
    }
}

fn echo_answers(alice: &mut XmppClient, bob: &mut SipClient) {
    alice.send("echo@hub.example", "e1", "is anybody there?");
    assert_eq!(alice.expect_message(SOON).body, "is anybody there?");
    bob.send("sip:echo@hub.example", "e2", "and here?");
    assert_eq!(bob.expect_message(SOON).body, "and here?");
    assert_eq!(bob.expect_answer("e2", SOON), 200);
}

fn they_talk(alice: &mut XmppClient, bob: &mut SipClient, id: &str) {
    alice.send("bob@globex.example", id, "good morning");
    assert_eq!(bob.expect_message(SOON).body, "good morning");
    bob.send("sip:alice@acme.example", id, "to you too");
    assert_eq!(alice.expect_message(SOON).body, "to you too");
    assert_eq!(bob.expect_answer(id, SOON), 200);
}

/// Both are told, at once, in their own protocol.
fn they_are_refused(alice: &mut XmppClient, bob: &mut SipClient, id: &str) {
    alice.send("bob@globex.example", id, "hello?");
    let error = alice.expect_error(SOON);
    assert_eq!((error.id.as_str(), error.condition.as_str()), (id, "forbidden"), "{error:?}");
    bob.send("sip:alice@acme.example", id, "hello?");
    assert_eq!(bob.expect_answer(id, SOON), 403);
    bob.expect_no_message(Duration::from_millis(200));
}

/// The commands of the page, by the heading that they stand under.
fn page() -> Vec<(String, Vec<String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/quickstart.md");
    let text = std::fs::read_to_string(path).expect("the page is there");
    let (mut sections, mut inside): (Vec<(String, Vec<String>)>, _) = (Vec::new(), false);
    for line in text.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => sections.last_mut().expect("a heading comes first").1.push(line.to_owned()),
            line => {
                if let Some(heading) = line.strip_prefix("## ") {
                    sections.push((heading.to_owned(), Vec::new()));
                }
            }
        }
    }
    sections
}

/// Types the commands under a heading, in the folder of `hub.toml`. Answers what they print.
fn type_in(firms: &Firms, heading: &str) -> String {
    let sections = page();
    let (_, commands) = sections.iter().find(|(known, _)| known == heading).expect("the page has this heading");
    assert!(!commands.is_empty(), "{heading}");
    let mut printed = String::new();
    for command in commands {
        // The only thing that is otherwise in a test: the servers are here, and on ports that were free.
        let command = command
            .replace("host=xmpp.acme.example", &format!("host=127.0.0.1 --setting port={}", firms.acme_port))
            .replace("host=sip.globex.example", &format!("host=127.0.0.1 --setting port={}", firms.globex_port));
        printed.push_str(&shell(firms, &command).unwrap_or_else(|error| panic!("{command}: {error}")));
    }
    printed
}

fn shell(firms: &Firms, command: &str) -> Result<String, String> {
    let program = binary();
    let path =
        format!("{}:{}", program.parent().expect("it is in a folder").display(), std::env::var("PATH").unwrap_or_default());
    let folder = firms.files.configuration();
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(folder.parent().expect("it is in a folder"))
        .env("PATH", path)
        .output()
        .expect("there is a shell");
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout).expect("text"));
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn by_the_command_line_as_the_page_has_it() {
    let mut firms = Firms::start();
    let (mut alice, mut bob) = firms.people();
    // Before anything is registered nobody gets through.
    bob.send("sip:echo@hub.example", "early", "hello?");
    assert_eq!(bob.expect_answer("early", SOON), 403);
    let domains = type_in(&firms, "Register");
    assert!(domains.contains("acme.example is not proven: publish _interchange-"), "{domains}");
    let link = "interchange link set acme --member acme --platform xmpp --domain acme.example";
    assert!(shell(&firms, link).expect_err(link).contains("not proven to be of `acme` yet"));
    // Its name servers do not answer, then have the record.
    let check = shell(&firms, "interchange domain check acme.example").expect("it is checked");
    assert!(
        check.contains("ns2.acme.example") && check.contains("did not answer") && check.contains("not proven: none of"),
        "{check}"
    );
    let (_, domains) = firms.api().get("domains");
    let txt =
        domains.as_array().and_then(|all| all.iter().find(|row| row["domain"] == "acme.example")).expect("it is listed")["txt"]
            .clone();
    let of = |key: &str| txt[key].as_str().expect("a text").to_owned();
    let _authority = firms.publish(&of("name"), &of("value"));
    let check = type_in(&firms, "Prove");
    assert!(check.contains("proven: all 2 name servers that answered have the record"), "{check}");
    let links = type_in(&firms, "Link");
    assert!(links.contains("acme.example") && links.contains("globex.example"), "{links}");
    // What the other side is told to write names this hub, its port and this firm.
    let port = firms.files.xmpp.number().to_string();
    for wanted in ["acme.example.key", HUB_DOMAIN, &port, "on Kamailio"] {
        assert!(links.contains(wanted), "{wanted}: {links}");
    }
    // Green for both: it has failed no check, or the command would have failed.
    let answered = |link: &str| format!("{link}.example answered {HUB_DOMAIN} within");
    for wanted in [answered("acme"), answered("globex"), "has no partner on this hub [no-partner]".to_owned()] {
        assert!(links.contains(&wanted), "{wanted}: {links}");
    }
    assert!(!links.contains('✖'), "{links}");
    echo_answers(&mut alice, &mut bob);
    they_are_refused(&mut alice, &mut bob, "m1");
    let asked = Instant::now();
    let partners = type_in(&firms, "Connect");
    assert!(partners.contains("acme globex") && partners.contains("agreed"), "{partners}");
    they_talk(&mut alice, &mut bob, "m2");
    println!("from the invitation to the first messages: {:?}", asked.elapsed());
    // What is registered is there after a crash.
    // A SIGKILL.
    firms.hub = None;
    firms.hub = Some(firms.files.start());
    they_talk(&mut alice, &mut bob, "m3");
    let wall = "interchange barrier set wall --member acme --between alice@acme.example --and globex.example --reason x";
    shell(&firms, wall).expect(wall);
    they_are_refused(&mut alice, &mut bob, "wall");
    let explain = shell(&firms, "interchange explain alice@acme.example bob@globex.example; true").expect("it is explained");
    assert!(explain.contains("information barrier stands between them"), "{explain}");
    shell(&firms, "interchange barrier remove wall").expect("it is there");
    they_talk(&mut alice, &mut bob, "no wall");
    let barriers = type_in(&firms, "Keep some apart");
    assert!(barriers.contains("deal-7") && barriers.contains("globex.example"), "{barriers}");
    let audit = type_in(&firms, "Part");
    for change in ["add-member", "prove-domain", "vouch-domain", "set-link", "invite", "approve", "revoke", "set-user"] {
        assert!(audit.contains(change), "{change}: {audit}");
    }
    they_are_refused(&mut alice, &mut bob, "m4");
    let token = type_in(&firms, "Let others do it");
    assert!(token.contains("alice-admin."), "{token}");
    // What became of them, by the pair and by id, and never a word of it.
    let trace = shell(&firms, "interchange trace alice@acme.example bob@globex.example --json").expect("it is known");
    let rows: Vec<Value> = serde_json::from_str(&trace).expect("JSON");
    let first = rows.iter().find(|row| row["stage"] == "accepted").expect("something was accepted");
    let last = rows.last().expect("there is something");
    assert_eq!((last["stage"].as_str(), last["why"].as_str()), (Some("refused"), Some("not-allowed")), "{trace}");
    assert!(!trace.contains("good morning") && !trace.contains("hello?"), "{trace}");
    let id = first["id"].as_str().expect("it has an id");
    let story = shell(&firms, &format!("interchange trace {id}")).expect("it is known");
    assert!(story.contains("accepted") && story.contains("delivered") && story.contains("bob@globex.example"), "{story}");
    assert!(shell(&firms, "interchange trace xyz").expect_err("no id").contains("32 hexadecimal digits"));
    // What waits for a link that is down, or that is taken away, is seen.
    shell(&firms, "interchange link set globex --member globex --platform sip --domain globex.example --setting host=127.0.0.1 --setting port=1").expect("it is right");
    let invited = "interchange partner invite acme globex && interchange partner approve globex acme && interchange completion bash | bash -n";
    shell(&firms, invited).expect(invited);
    alice.send("bob@globex.example", "waits", "are you there?");
    let until = Instant::now() + SOON;
    let queue = loop {
        let queue = shell(&firms, "interchange queue").expect("it is shown");
        if queue.contains("globex") || Instant::now() > until {
            break queue;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(queue.contains("globex"), "{queue}");
    shell(&firms, "interchange link remove globex").expect("it is taken away");
    assert!(shell(&firms, "interchange queue").expect("it is shown").contains("globex"));
    shell(&firms, "interchange link set globex --member globex --platform sip --domain globex.example").expect("it is back");
    shell(&firms, "interchange partner revoke acme globex").expect("they part");
    // The token goes to the hub, not to a proxy that the environment names.
    let proxied = "HTTP_PROXY=http://127.0.0.1:1 ALL_PROXY=http://127.0.0.1:1 interchange member list";
    assert!(shell(&firms, proxied).expect(proxied).contains("globex"));
    // Errors say what to do.
    for (command, says) in [
        ("interchange member add Acme X", "use 1 to 64 lower-case letters"),
        ("interchange domain add acme globex.example", "belongs to another member"),
        (
            "interchange link set acme --member acme --platform xmpp --domain acme.example --setting hots=x",
            "settings of link `acme`",
        ),
        ("interchange link set new --member acme --platform pigeon --domain acme.example", "this hub has xmpp, sip"),
        ("interchange link set new --member acme --platform xmpp --domain other.example", "add it and prove it first"),
        ("interchange partner approve globex acme", "has not invited"),
        ("interchange link guide nothing", "there is no link `nothing`"),
        ("interchange link guide acme --product kamailio", "there are prosody, ejabberd"),
        ("interchange link guide ../x", "names of links and products"),
        ("interchange doctor nothing", "there is no link `nothing`"),
        ("interchange member list --url http://127.0.0.1:1", "no hub answers"),
    ] {
        let error = shell(&firms, command).expect_err(command);
        assert!(error.contains(says), "{command}: {error}");
    }
}

#[test]
fn by_the_api_each_administrator_for_their_own_firm() {
    let mut firms = Firms::start();
    let (mut alice, mut bob) = firms.people();
    let operator = firms.api();
    let mut admins = Vec::new();
    for (member, platform, settings) in [
        ("acme", "xmpp", json!({"host": "127.0.0.1", "port": firms.acme_port})),
        ("globex", "sip", json!({"host": "127.0.0.1", "port": firms.globex_port, "identity": "domain"})),
    ] {
        let domain = format!("{member}.example");
        operator.change(json!({"change": "add-member", "member": member, "name": member}));
        let (status, answer) = operator.post("users", &json!({"user": member, "role": "member", "member": member}));
        assert_eq!(status, 201, "{answer}");
        let admin = Api::new(firms.files.admin.number(), answer["token"].as_str().expect("a token"));
        admin.change(json!({"change": "add-domain", "member": member, "domain": domain}));
        let link = json!({"change": "set-link", "link": member, "member": member, "platform": platform, "domains": [domain], "settings": settings});
        assert!(admin.refused(link.clone(), 409).contains("not proven"));
        assert!(admin.refused(json!({"change": "vouch-domain", "domain": domain}), 403).contains("only an operator"));
        let (_, domains) = admin.get("domains");
        assert!(domains[0]["txt"]["name"].as_str().expect("a name").starts_with("_interchange-"), "{domains}");
        if member == "acme" {
            let name = domains[0]["txt"]["name"].as_str().expect("a name").to_owned();
            // A record with something else in it proves nothing, and one's own administrator has it checked.
            let _authority = firms.publish(&name, "interchange-domain-verification=something-else");
            let (status, answer) = admin.post("domains/acme.example/check", &Value::Null);
            assert_eq!((status, answer["proven"].as_bool()), (200, Some(false)), "{answer}");
            assert!(answer["because"].as_str().is_some_and(|because| because.contains("another text")), "{answer}");
            assert_eq!(answer["servers"].as_array().map(Vec::len), Some(2), "{answer}");
        } else {
            assert_eq!(admin.post("domains/acme.example/check", &Value::Null).0, 404, "another's domain");
        }
        operator.change(json!({"change": "vouch-domain", "domain": domain}));
        admin.change(link);
        admins.push(admin);
    }
    echo_answers(&mut alice, &mut bob);
    they_are_refused(&mut alice, &mut bob, "m1");
    let [acme, globex] = &admins[..] else { unreachable!() };
    // Each examines their own link, and sees it whole, with what their people have written.
    for (admin, link, product) in [(acme, "acme", "prosody"), (globex, "globex", "kamailio")] {
        let (status, found) = admin.post(&format!("links/{link}/doctor?product={product}"), &Value::Null);
        let findings = found["findings"].as_array().expect("there are findings");
        let of = |check: &str| findings.iter().find(|finding| finding["check"] == check).map(|finding| finding["result"].clone());
        assert_eq!((status, of("answer"), of("messages")), (200, Some("ok".into()), Some("ok".into())), "{found:#}");
        assert!(findings.iter().all(|finding| finding["result"] != "failed"), "{found:#}");
    }
    assert_eq!(acme.post("links/globex/doctor", &Value::Null).0, 404, "another's link");
    // Nobody speaks for the other, and sees only what is theirs.
    let detail = acme.refused(json!({"change": "approve", "member": "globex", "partner": "acme"}), 403);
    assert!(detail.contains("administrator of acme"), "{detail}");
    acme.change(json!({"change": "invite", "from": "acme", "to": "globex"}));
    globex.change(json!({"change": "approve", "member": "globex", "partner": "acme"}));
    they_talk(&mut alice, &mut bob, "m2");
    let (_, links) = acme.get("links");
    assert_eq!(
        (links.as_array().map(Vec::len), links[0]["link"].as_str(), links[0]["state"].as_str()),
        (Some(1), Some("acme"), Some("up"))
    );
    assert_eq!(operator.get("links").1.as_array().map(Vec::len), Some(3), "the Echo user's is one");
    assert_eq!(acme.get("audit").0, 403);
    // What was refused to Bob is of both firms; what the other firm has with the hub is not theirs to see.
    let stories = |api: &Api, pair: &str| api.get(&format!("trace?{pair}")).1.as_array().map(Vec::len);
    assert!(stories(acme, "from=alice@acme.example&to=bob@globex.example") > Some(0));
    assert_eq!(stories(acme, "from=bob@globex.example&to=echo@hub.example"), Some(0));
    assert!(stories(&operator, "from=bob@globex.example&to=echo@hub.example") > Some(0));
    assert_eq!(acme.get("trace?from=alice@acme.example").0, 400);
    assert_eq!(acme.get("links/globex/guide").0, 404, "another's link");
    let (_, guide) = acme.get("links/acme/guide?product=prosody");
    assert!(guide.to_string().contains("globex.example"), "it names the partner: {guide}");
    assert_eq!(acme.get("users").0, 403);
    assert_eq!(globex.get("partnerships").1[0]["state"], "agreed");
    acme.change(json!({"change": "revoke", "member": "acme", "partner": "globex"}));
    they_are_refused(&mut alice, &mut bob, "m3");
    // A link that is taken away is away at once.
    globex.change(json!({"change": "remove-link", "link": "globex"}));
    bob.send("sip:echo@hub.example", "late", "hello?");
    assert_eq!(bob.expect_answer("late", SOON), 403);
    // A user who is removed is out at once.
    operator.change(json!({"change": "remove-user", "user": "acme"}));
    assert_eq!(acme.get("links").0, 401);
}

/// A web server with one folder, by HTTPS: Python's.
fn web_server(port: ReservedPort, identity: &Identity, file: Option<&str>, moved: bool) -> (Program, ReservedPort) {
    let directory = Directory::new("web");
    let files = identity.write(&directory, "web");
    let known = directory.create("site/.well-known");
    if let Some(text) = file {
        std::fs::write(known.join("interchange-domain-verification"), text).expect("it can be written");
    }
    let script = format!(
        "import http.server, ssl, os\nos.chdir({:?})\n\
         class Handler(http.server.SimpleHTTPRequestHandler):\n\
         \x20   def do_GET(self):\n\
         \x20       if {}:\n\
         \x20           self.send_response(302); self.send_header('Location', 'http://127.0.0.1:1/'); self.send_header('Content-Length', '0'); self.end_headers()\n\
         \x20       else: super().do_GET()\n\
         server = http.server.ThreadingHTTPServer(('127.0.0.1', {}), Handler)\n\
         context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\ncontext.load_cert_chain({:?}, {:?})\n\
         server.socket = context.wrap_socket(server.socket, server_side=True)\nserver.serve_forever()\n",
        directory.path().join("site"),
        if moved { "True" } else { "False" },
        port.number(),
        files.certificate,
        files.private_key,
    );
    let script = directory.write("web.py", &script);
    let mut command = Command::new("/usr/bin/python3");
    command.arg(script);
    let mut program = Program::start(directory, command);
    program.wait_for_listeners(&[port.address()], SOON);
    (program, port)
}

/// Who cannot change the zone proves a domain by a file at its web server; a server that could be anybody's, or that leads elsewhere, proves nothing.
#[test]
fn a_domain_is_proven_by_a_file_at_its_own_web_server() {
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    let web = ReservedPort::any();
    let more = "host-record=acme.example,127.0.0.1\nhost-record=inside.example,10.9.8.7\n";
    // Its records speak for a product too.
    let records = [ServiceRecord::xmpp_server("acme.example", 5269)];
    let more = format!("{more}srv-host=_xmpp-server._tcp.inside.example,ejabberd.inside.example,5269\n");
    let names = NameServer::start_at(ReservedPort::any(), &records, &more);
    files.ask(names.port(), names.port());
    files.ask_web(web.number());
    files.configure(&authority, &[]);
    let _hub = files.start();
    let api = Api::new(files.admin.number(), &files.operator_token());
    api.change(json!({"change": "add-member", "member": "acme", "name": "Acme"}));
    for domain in ["acme.example", "inside.example"] {
        api.change(json!({"change": "add-domain", "member": "acme", "domain": domain}));
    }
    let (_, domains) = api.get("domains");
    let row =
        domains.as_array().and_then(|all| all.iter().find(|row| row["domain"] == "acme.example")).expect("it is listed").clone();
    assert_eq!(row["url"], "https://acme.example/.well-known/interchange-domain-verification");
    let value = row["txt"]["value"].as_str().expect("a text").to_owned();
    let check = |domain: &str| {
        let (status, answer) = api.post(&format!("domains/{domain}/check"), &Value::Null);
        assert_eq!(status, 200, "{answer}");
        (answer["proven"] == true, answer["file"].as_str().unwrap_or_default().to_owned())
    };
    // Nobody there; an address inside, which is never asked.
    assert!(matches!(check("acme.example"), (false, why) if why.contains("no connection")));
    assert!(matches!(check("inside.example"), (false, why) if why.contains("is private, and the hub asks only public ones")));
    let good = authority.issue(&Leaf::host("acme.example"));
    let (stranger, other) = (Authority::new("Somebody else"), authority.issue(&Leaf::host("other.example")));
    let mut port = Some(web);
    for (identity, file, moved, says) in [
        (&stranger.issue(&Leaf::host("acme.example")), Some(value.as_str()), false, "trusted authority"),
        (&other, Some(value.as_str()), false, "does not name acme.example"),
        (&good, None, false, "404"),
        (&good, Some(value.as_str()), true, "leads elsewhere"),
        (&good, Some("something else"), false, "another text"),
        (&good, Some("x".repeat(5000).as_str()), false, "longer than 4096 bytes"),
    ] {
        let (program, kept) = web_server(port.take().expect("it is free"), identity, file, moved);
        let (proven, why) = check("acme.example");
        assert!(!proven && why.contains(says), "{says}: {why}");
        drop(program);
        port = Some(kept);
    }
    let (_web, _port) = web_server(port.take().expect("it is free"), &good, Some(&format!("{value}\n")), false);
    assert_eq!(check("acme.example"), (true, "it has the value".to_owned()));
    let (_, domains) = api.get("domains");
    let row =
        domains.as_array().and_then(|all| all.iter().find(|row| row["domain"] == "acme.example")).expect("it is listed").clone();
    assert_eq!(row["proof"]["kind"], "https", "{row}");
    // The guide is for the product that the records speak for.
    api.change(json!({"change": "vouch-domain", "domain": "inside.example"}));
    for (link, domain) in [("one", "acme.example"), ("two", "inside.example")] {
        api.change(json!({"change": "set-link", "link": link, "member": "acme", "platform": "xmpp", "domains": [domain]}));
    }
    assert!(api.get("links/two/guide").1["title"].as_str().is_some_and(|title| title.ends_with("on ejabberd")));
    assert!(api.get("links/one/guide").1["title"].as_str().is_some_and(|title| title.ends_with("on another XMPP server")));
}
