//! The API over HTTP.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use ureq::Agent;
use ureq::http::StatusCode;

use crate::config::Config;
use crate::platforms::PLATFORMS;
use crate::{registered, secret};

/// A change may wait for another node's; more than this is a hub that hangs.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);
/// How long an examination may take.
const EXAMINED_WITHIN: Duration = Duration::from_secs(120);

/// Asks one hub with one token.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    url: String,
    token: String,
}

impl Client {
    /// By an address and a file with a token; what is not given comes from the configuration.
    ///
    /// # Errors
    /// When one of them is nowhere, or the token's file may be read by others.
    pub fn new(config: &Path, url: Option<&str>, token_file: Option<&Path>) -> anyhow::Result<Self> {
        let load = || Config::load(config, PLATFORMS);
        let url = match url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let address = load()?.admin.with_context(|| {
                    format!(
                        "{} has no [admin] address, so its hub has no API: add address = \"127.0.0.1:9464\"",
                        config.display()
                    )
                })?;
                format!("http://{address}")
            }
        };
        let file = match token_file {
            Some(file) => file.to_owned(),
            None => load()?.data_directory.join(registered::TOKEN_FILE),
        };
        let token = secret::read_password(&file).with_context(|| {
            format!(
                "the token cannot be read: run this as the hub's user, or name a file with your token by --token-file (tried {})",
                file.display()
            )
        })?;
        // A token is for the hub alone: no proxy of the environment has it.
        let agent = Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(ANSWERS_WITHIN))
            .build();
        Ok(Self { agent: agent.into(), url, token })
    }

    /// What the API answers to a GET.
    ///
    /// # Errors
    /// When nothing answers, or it refuses.
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.agent.get(format!("{}{path}", self.url)).header("Authorization", format!("Bearer {}", self.token));
        self.read(request.call())
    }

    /// What the API answers to a GET with a query.
    ///
    /// # Errors
    /// When nothing answers, or it refuses.
    pub fn ask(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let request = self.agent.get(format!("{}{path}", self.url)).header("Authorization", format!("Bearer {}", self.token));
        self.read(request.query_pairs(query.iter().copied()).call())
    }

    /// What the API answers to a POST.
    ///
    /// # Errors
    /// When nothing answers, or it refuses.
    pub fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.agent.post(format!("{}{path}", self.url)).header("Authorization", format!("Bearer {}", self.token));
        self.read(request.send_json(body))
    }

    /// What the API answers to an examination, which takes up to a minute.
    ///
    /// # Errors
    /// When nothing answers, or it refuses.
    pub fn examine(&self, path: &str) -> anyhow::Result<Value> {
        if std::io::stderr().is_terminal() {
            eprintln!("the link is looked at and tried: up to a minute …");
        }
        let request = self.agent.post(format!("{}{path}", self.url)).header("Authorization", format!("Bearer {}", self.token));
        self.read(request.config().timeout_global(Some(EXAMINED_WITHIN)).build().send_json(Value::Null))
    }

    fn read(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> anyhow::Result<Value> {
        let mut answer = answer.map_err(|error| {
            anyhow::anyhow!("no hub answers at {}: {error}; does it run, with this [admin] address?", self.url)
        })?;
        let status = answer.status();
        let value: Value = answer.body_mut().read_json().unwrap_or_default();
        if status.is_success() {
            return Ok(value);
        }
        let detail = value["detail"].as_str().unwrap_or("it does not say why");
        if status == StatusCode::UNAUTHORIZED {
            bail!("the hub does not know this token: ask an operator for a new one (interchange user set)");
        }
        bail!("{detail}");
    }
}
