//! The hub's API over HTTP, with one token.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

/// The API with one token.
#[derive(Debug)]
pub struct Api {
    /// For requests that no method makes.
    pub agent: Agent,
    /// `http://127.0.0.1:PORT/api/v1/`
    pub url: String,
    /// The value of the `Authorization` header.
    pub token: String,
}

impl Api {
    /// Of the hub at a port of 127.0.0.1.
    pub fn new(port: u16, token: &str) -> Self {
        // The hub closes what was idle for 15 s, and a POST that meets that moment is not sent again.
        let idle = Duration::from_secs(5);
        let agent = Agent::config_builder().proxy(None).http_status_as_error(false).max_idle_age(idle).build().into();
        Self { agent, url: format!("http://127.0.0.1:{port}/api/v1/"), token: format!("Bearer {token}") }
    }

    /// A GET below `/api/v1/`: the status and the answer.
    pub fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.agent.get(format!("{}{path}", self.url)).header("Authorization", &self.token).call();
        read(answer.expect("the hub answers"))
    }

    /// A POST below `/api/v1/`: the status and the answer.
    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.agent.post(format!("{}{path}", self.url)).header("Authorization", &self.token).send_json(body);
        read(answer.expect("the hub answers"))
    }

    /// Makes a change that is right.
    #[track_caller]
    pub fn change(&self, change: Value) {
        let (status, answer) = self.post("changes", &change);
        assert_eq!(status, 200, "{change}: {answer}");
    }

    /// Tries one that is not, and answers why.
    #[track_caller]
    pub fn refused(&self, change: Value, wanted: u16) -> String {
        let (status, answer) = self.post("changes", &change);
        assert_eq!(status, wanted, "{change}: {answer}");
        answer["detail"].as_str().expect("a problem has details").to_owned()
    }
}

/// Status and body of an answer of the API, which is JSON, is kept nowhere, and is a problem if it is no success.
pub fn read(mut answer: ureq::http::Response<ureq::Body>) -> (u16, Value) {
    let status = answer.status().as_u16();
    let text = answer.body_mut().read_to_string().expect("text");
    if status >= 400 {
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{text}");
    }
    assert_eq!(answer.headers()["cache-control"], "no-store");
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}
