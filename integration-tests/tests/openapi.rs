//! The API against its own document, by schemathesis: whatever is sent, an answer is one that the document has, and none is the hub's own fault.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use interchange_integration_tests::api::Api;
use interchange_integration_tests::certificates::Authority;
use interchange_integration_tests::dns::NameServer;
use interchange_integration_tests::hub::{HubFiles, LinkSettings};
use interchange_integration_tests::ports::ReservedPort;
use interchange_integration_tests::processes::Directory;
use serde_json::{Value, json};

/// As scripts/install-test-tools.sh has it.
fn schemathesis() -> PathBuf {
    let home = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = home("XDG_CACHE_HOME").or_else(|| home("HOME").map(|home| home.join(".cache"))).expect("there is a home");
    cache.join("interchange-test-tools/schemathesis/bin/schemathesis")
}

#[test]
fn every_answer_is_one_of_the_document_s_and_none_is_a_fault_of_the_hub() {
    let authority = Authority::new("Test authority");
    let mut files = HubFiles::new(&authority);
    let names = NameServer::start(&[]);
    files.ask(names.port(), names.port());
    files.by_invitation();
    let closed = ReservedPort::any();
    let people = LinkSettings::sametime("acme-sametime", "people.example");
    files.configure(&authority, &[LinkSettings::xmpp("acme", "acme.example", closed.number()), people]);
    let hub = files.start();
    let (port, token) = (files.admin.number(), files.operator_token());
    let operator = Api::new(port, &token);
    // Something to be seen. What is in the file stays, whatever the fuzzer changes.
    let settings = json!({"host": "127.0.0.1", "port": closed.number()});
    for change in [
        json!({"change": "add-member", "member": "globex", "name": "Globex"}),
        json!({"change": "add-domain", "member": "globex", "domain": "globex.example"}),
        json!({"change": "vouch-domain", "domain": "globex.example"}),
        json!({"change": "set-link", "link": "globex", "member": "globex", "platform": "xmpp", "domains": ["globex.example"], "settings": settings}),
        json!({"change": "invite", "from": "globex", "to": "acme"}),
        json!({"change": "set-barrier", "barrier": "wall", "between": [["alice@acme.example"], ["globex.example"]], "reason": "x"}),
    ] {
        operator.change(change);
    }
    let (status, answer) = operator.post("users", &json!({"user": "globex-admin", "role": "member", "member": "globex"}));
    assert_eq!(status, 201, "{answer}");
    let (_, document) = operator.get("openapi.json");
    let member = answer["token"].as_str().expect("a token").to_owned();
    // The operator last: the fuzzer finds out who there is, and gives them new tokens.
    for (who, token, examples) in [("member", member, "8"), ("operator", token, "25")] {
        let directory = Directory::new("schemathesis");
        let report = directory.path().join("report.ndjson");
        let mut command = Command::new(schemathesis());
        command.arg("run").arg(format!("http://127.0.0.1:{port}/api/v1/openapi.json"));
        command.args(["--url", &format!("http://127.0.0.1:{port}"), "-H", &format!("Authorization: Bearer {token}")]);
        command.args(["--phases", "examples,coverage,fuzzing", "--max-examples", examples, "--seed", "7", "--no-color"]);
        command.args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance,ignored_auth"]);
        command.args(["--continue-on-failure", "--warnings", "off", "--suppress-health-check", "all", "--request-timeout", "70"]);
        command.args(["--report", "ndjson", "--report-ndjson-path"]).arg(&report);
        // No file of the developer's own changes what is asked, and nothing goes to a proxy.
        command.current_dir(directory.path()).env("NO_PROXY", "*").env("HYPOTHESIS_STORAGE_DIRECTORY", directory.path());
        let output = command.output().expect("schemathesis is installed: run scripts/install-test-tools.sh");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "as {who}:\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
        // It has asked everything.
        let report = std::fs::read_to_string(&report).expect("there is a report");
        let asked = statuses(&report, &document);
        let total: usize = asked.values().map(|statuses| statuses.values().sum::<usize>()).sum();
        println!("as {who}: {total} requests");
        for (path, operations) in document["paths"].as_object().expect("paths") {
            // It is read as the document, and not asked again.
            for method in operations.as_object().expect("operations").keys().filter(|_| !path.ends_with("openapi.json")) {
                let statuses = asked.get(&(method.to_uppercase(), path.clone()));
                println!("  {method:<5} {path:<40} {statuses:?}");
                // A change that fits what is there is not made by chance.
                let known = |statuses: &BTreeMap<u64, usize>| statuses.keys().any(|status| *status != 401);
                let good = |statuses: &BTreeMap<u64, usize>| statuses.keys().any(|status| (200..300).contains(status));
                assert!(
                    statuses.is_some_and(|statuses| if who == "operator" && !path.ends_with("/changes") {
                        good(statuses)
                    } else {
                        known(statuses)
                    }),
                    "{method} {path} was not asked: {asked:?}"
                );
            }
        }
        assert!(total > 200, "{total}");
    }
    // It lives, and nothing was upset.
    assert_eq!(operator.get("openapi.json").0, 200);
    assert!(!hub.log().contains("panicked"), "{}", hub.log());
}

/// By method and path of the document: how often each status was answered.
fn statuses(report: &str, document: &Value) -> BTreeMap<(String, String), BTreeMap<u64, usize>> {
    let mut all: BTreeMap<(String, String), BTreeMap<u64, usize>> = BTreeMap::new();
    let paths: Vec<&String> = document["paths"].as_object().expect("paths").keys().collect();
    let mut open: Vec<Value> = report.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    while let Some(value) = open.pop() {
        match value {
            Value::Object(object) => {
                let uri = object.get("request").and_then(|request| request["uri"].as_str());
                let method = object.get("request").and_then(|request| request["method"].as_str());
                let status = object.get("response").and_then(|response| response["status_code"].as_u64());
                if let (Some(uri), Some(method), Some(status)) = (uri, method, status) {
                    let path = uri.split_once("://").map_or(uri, |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
                    let path = format!("/{}", path.trim_start_matches('/').split(['?', '#']).next().unwrap_or_default());
                    if let Some(known) = paths.iter().find(|known| fits(known, &path)) {
                        *all.entry((method.to_owned(), (*known).clone())).or_default().entry(status).or_default() += 1;
                    }
                }
                open.extend(object.into_iter().map(|(_, value)| value));
            }
            Value::Array(values) => open.extend(values),
            _ => {}
        }
    }
    all
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len() && template.iter().zip(&path).all(|(part, found)| part.starts_with('{') || part == found)
}
