//! What the operator sees: a real Prometheus scrapes a hub through which messages go, and its alerts say what is wrong.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use interchange_integration_tests::certificates::{Authority, Leaf};
use interchange_integration_tests::hub::{HUB_DOMAIN, HubFiles, LinkSettings, binary};
use interchange_integration_tests::ports::ReservedPort;
use interchange_integration_tests::prometheus::{Prometheus, get};
use interchange_integration_tests::tls_sip_peer::{TlsSipClient, TlsSipServer};
use serde_json::Value;

const SECRET: &str = "no-metric-shows-these-words";

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus")
}

/// Tries until something holds.
#[track_caller]
fn eventually(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < until, "not within {within:?}: {what}");
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn the_alert_rules_fire_for_their_faults_and_name_pages_that_are_there() {
    let output = Command::new("/usr/bin/promtool")
        .args(["test", "rules", "alerts_test.yml"])
        .current_dir(deploy())
        .output()
        .expect("promtool is installed");
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let rules = std::fs::read_to_string(deploy().join("alerts.yml")).expect("the rules are there");
    let tests = std::fs::read_to_string(deploy().join("alerts_test.yml")).expect("their tests are there");
    let of = |key: &str| -> Vec<String> {
        rules
            .lines()
            .filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key))
            .map(|rest| rest.trim().to_owned())
            .collect()
    };
    let (alerts, pages) = (of("alert:"), of("runbook:"));
    assert_eq!(alerts.len(), pages.len());
    for alert in &alerts {
        assert_eq!(tests.matches(&format!("alertname: {alert}")).count(), 2, "{alert} is shown to fire and to be silent");
    }
    for page in &pages {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page).is_file(), "{page}");
    }
}

#[test]
fn prometheus_scrapes_a_hub_and_sees_what_happens_to_messages_and_links() {
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    let (globex, initech) = (ReservedPort::any(), ReservedPort::any());
    files.configure(
        &authority,
        &[
            LinkSettings::sip("globex", "globex.example", globex.number()).with("answer_wait = 0"),
            LinkSettings::sip("initech", "initech.example", initech.number()),
        ],
    );
    let identity = authority.issue(&Leaf::sip("globex.example"));
    let (_server, _messages) = TlsSipServer::recording(globex, &identity, authority.certificate());
    let hub = files.start();
    let prometheus = Prometheus::start(files.admin.address(), &deploy().join("alerts.yml"));
    let mut bob = TlsSipClient::connect(files.sip.address(), HUB_DOMAIN, Some(&identity), authority.certificate());
    let within = Duration::from_secs(30);
    let sum = |query: &str| prometheus.query(&format!("sum({query})")).first().map_or(0.0, |(_, value)| *value);

    eventually("the link is up", within, || sum("interchange_link_state{link=\"globex\",state=\"up\"}") == 1.0);
    assert_eq!(get(files.admin.address(), "/livez"), (200, "alive\n".to_owned()));
    assert_eq!(get(files.admin.address(), "/readyz"), (200, "ready\n".to_owned()));
    let (_, health) = get(files.admin.address(), "/healthz");
    assert!(health.contains("globex up\n") && health.contains("initech retrying: 127.0.0.1 cannot be reached"), "{health}");

    let explain = |from: &str, to: &str| -> (bool, Value) {
        let mut command = Command::new(binary());
        let command = command.args(["explain", from, to, "--json", "--config"]).arg(files.configuration());
        let output = command.output().expect("the binary runs");
        (output.status.success(), serde_json::from_slice(&output.stdout).expect("one JSON object"))
    };
    let (passes, found) = explain("bob@globex.example", "carol@initech.example");
    assert!(passes && found["sender"]["state"] == "up", "{found}");
    assert!(found["recipient"]["state"].as_str().is_some_and(|state| state.starts_with("retrying: ")), "{found}");
    let (passes, found) = explain("bob@globex.example", "carol@initec.example");
    assert!(
        !passes
            && found["refusal"] == "unknown-domain"
            && found["then"].as_str().is_some_and(|then| then.contains("initech.example"))
    );

    for number in 0..30 {
        assert_eq!(bob.message("sip:bob@globex.example", "sip:echo@hub.example", &format!("{SECRET} {number}")), 202);
    }
    assert_eq!(bob.message("sip:bob@globex.example", "sip:x@nowhere.example", SECRET), 404);
    // Nobody is there: it waits.
    assert_eq!(bob.message("sip:bob@globex.example", "sip:carol@initech.example", SECRET), 202);
    let accepted = "interchange_messages_received_total{link=\"globex\",kind=\"text\",result=\"accepted\"}";
    eventually("all are counted", within, || sum(accepted) == 31.0);
    let delivered = |link: &str| format!("interchange_deliveries_total{{link=\"{link}\",kind=\"text\",result=\"delivered\"}}");
    eventually("the echo has them, and Bob its answers", within, || {
        sum(&delivered("echo")) == 30.0 && sum(&delivered("globex")) == 30.0
    });
    assert_eq!(sum("interchange_messages_received_total{link=\"globex\",result=\"refused\",reason=\"unknown-domain\"}"), 1.0);
    eventually("one waits", within, || sum("interchange_queue_messages{link=\"initech\"}") == 1.0);
    assert!(sum("interchange_queue_oldest_seconds{link=\"initech\"}") > 0.0);
    assert_eq!(sum("interchange_queue_messages{link=\"globex\"}"), 0.0);
    assert!(sum("interchange_connections{platform=\"sip\"}") >= 2.0);
    assert!(sum("interchange_bytes_total{platform=\"sip\",direction=\"in\"}") > 5_000.0);
    assert!(sum("interchange_certificate_not_after_seconds") > 0.0);
    assert_eq!(sum("interchange_bus_up"), 1.0);
    eventually("half of them are quick", within, || {
        sum("histogram_quantile(0.5, sum by (le) (rate(interchange_delivery_seconds_bucket{link=\"echo\"}[1m])))") < 1.0
            && sum("interchange_delivery_seconds_count{link=\"echo\"}") == 30.0
    });
    let top =
        Command::new(binary()).args(["top", "--once", "--config"]).arg(files.configuration()).output().expect("the binary runs");
    let top = String::from_utf8_lossy(&top.stdout).into_owned();
    assert!(top.starts_with("2 of 3 links up, 1 messages wait, the bus answers\n") && top.contains("○ retrying"), "{top}");
    // A dead partner is about to be told of, and the live one is not.
    eventually("the alert", within, || prometheus.alerts().contains(&("InterchangeLinkDown".into(), "initech".into())));
    assert!(!prometheus.alerts().iter().any(|(_, link)| link == "globex"));

    // Each panel of the dashboards has something to show.
    for board in ["overview.json", "link.json"] {
        let text = std::fs::read_to_string(deploy().join("../grafana").join(board)).expect("the dashboard is there");
        let board: Value = serde_json::from_str(&text).expect("a dashboard is JSON");
        for panel in board["panels"].as_array().expect("panels") {
            assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{}", panel["title"]);
            for target in panel["targets"].as_array().expect("targets") {
                let query = target["expr"].as_str().expect("a query").replace("$link", "globex").replace("[5m]", "[20s]");
                // Nothing came back, and nothing will.
                if !query.contains("failed") {
                    eventually(&query, within, || !prometheus.query(&query).is_empty());
                }
            }
        }
    }

    // Every metric says what it is, and none what anybody wrote or who; nor do more messages make more of them.
    let (_, before) = get(files.admin.address(), "/metrics");
    for number in 0..60 {
        assert_eq!(
            bob.message(&format!("sip:user{number}@globex.example"), "sip:echo@hub.example", &format!("{SECRET} more {number}")),
            202
        );
    }
    eventually("those are counted too", within, || sum(accepted) == 91.0 && sum(&delivered("globex")) == 90.0);
    let (_, after) = get(files.admin.address(), "/metrics");
    let series = |text: &str| {
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, _)| name.to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(series(&before), series(&after));
    for line in after.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).expect("a name");
        assert!(after.contains(&format!("# HELP {name} ")), "{name} is not explained");
    }
    for word in [SECRET, "bob", "carol", "user1", "nowhere.example"] {
        assert!(!after.contains(word), "{word} is in the metrics");
    }
    drop(hub);
    eventually("the end of the hub is seen", within, || sum("up{job=\"interchange\"}") == 0.0);
}
