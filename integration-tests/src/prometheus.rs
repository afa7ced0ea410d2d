//! Prometheus 2.42 of Debian 12, scraping one hub; and a GET for those who need no more than that.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::ports::ReservedPort;
use crate::processes::{Directory, Program};

const LISTENS_WITHIN: Duration = Duration::from_secs(30);
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    port: ReservedPort,
    _program: Program,
}

impl Prometheus {
    /// Starts one that scrapes `hub` once a second, with the alert rules of a file.
    pub fn start(hub: SocketAddr, rules: &Path) -> Self {
        let directory = Directory::new("prometheus");
        let configuration = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files:\n  - {}\nscrape_configs:\n  - job_name: interchange\n    static_configs:\n      - targets: [\"{hub}\"]\n",
            rules.display()
        );
        let file = directory.write("prometheus.yml", &configuration);
        let port = ReservedPort::any();
        let mut command = Command::new("/usr/bin/prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", directory.create("data").display()));
        command.arg(format!("--web.listen-address={}", port.address()));
        let mut program = Program::start(directory, command);
        program.wait_for_listeners(&[port.address()], LISTENS_WITHIN);
        program.wait_until("Prometheus is ready", LISTENS_WITHIN, || get(port.address(), "/-/ready").0 == 200);
        Self { port, _program: program }
    }

    /// The values of an instant query: the labels of each series with its value.
    #[track_caller]
    pub fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let (status, body) = get(self.port.address(), &format!("/api/v1/query?query={escaped}"));
        assert_eq!(status, 200, "{query}: {body}");
        let answer: Value = serde_json::from_str(&body).expect("Prometheus answers JSON");
        let results = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let value = |result: &Value| result["value"][1].as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
        results.iter().map(|result| (result["metric"].clone(), value(result))).collect()
    }

    /// Names of the alerts that fire, or are about to, with the link that each concerns.
    #[track_caller]
    pub fn alerts(&self) -> Vec<(String, String)> {
        let (_, body) = get(self.port.address(), "/api/v1/alerts");
        let answer: Value = serde_json::from_str(&body).expect("Prometheus answers JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        alerts.iter().map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["labels"]["link"]))).collect()
    }
}

/// One GET: the status and the body.
#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().proxy(None).http_status_as_error(false).timeout_global(Some(ANSWERS_WITHIN)).build().into();
    let mut answer = agent.get(format!("http://{address}{path}")).call().expect("the server answers");
    let body = answer.body_mut().read_to_string().expect("the answer is text");
    (answer.status().as_u16(), body)
}
