//! Answers as tables for people.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use comfy_table::{ContentArrangement, Table, presets};
use interchange_guide::Guide;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// How the answer to this path is shown.
pub(super) fn of(path: &str) -> fn(&Value) -> String {
    match path {
        "members" => |answer| {
            table(answer, &["member", "name", "kept in"], |row| vec![text(&row["member"]), text(&row["name"]), kept(row)])
        },
        "domains" => domains,
        "links" => links,
        "partnerships" => partnerships,
        "barriers" => barriers,
        "queues" => |answer| {
            table(answer, &["link", "waiting", "oldest"], |row| {
                vec![text(&row["link"]), text(&row["waiting"]), when(row["oldest"].as_u64())]
            })
        },
        "accounts" => |answer| {
            table(answer, &["member", "user", "name", "kept in"], |row| {
                vec![text(&row["member"]), text(&row["user"]), text(&row["display_name"]), kept(row)]
            })
        },
        "users" => |answer| {
            table(answer, &["user", "role", "member"], |row| vec![text(&row["user"]), text(&row["role"]), text(&row["member"])])
        },
        _ => audit,
    }
}

pub(super) fn changed(answer: &Value) -> String {
    format!("done: version {}\n", text(&answer["version"]))
}

pub(super) fn token(answer: &Value) -> String {
    format!("the token of {}, which is not shown again:\n{}\n", text(&answer["user"]), text(&answer["token"]))
}

/// What each name server said, and what follows.
pub(super) fn checked(answer: &Value) -> String {
    let shown = table(&answer["servers"], &["name server", "address", "says"], |row| {
        let texts: Vec<_> = row["texts"].as_array().into_iter().flatten().map(text).collect();
        let says = match row["why"].as_str() {
            Some(_) => text(&row["why"]),
            None if texts.is_empty() => "no such record".to_owned(),
            None => texts.join("\n"),
        };
        vec![text(&row["server"]), text(&row["address"]), says]
    });
    let proven = if answer["proven"] == true { "proven" } else { "not proven" };
    let wanted = format!("{} TXT \"{}\"", text(&answer["name"]), text(&answer["value"]));
    let file = match answer["file"].as_str() {
        Some(_) => format!("{}: {}\n", text(&answer["url"]), text(&answer["file"])),
        None => String::new(),
    };
    format!("{shown}{file}wanted: {wanted}\n{proven}: {}\n", text(&answer["because"]))
}

/// The guide as it writes itself for a terminal; its texts come from the hub alone.
pub(super) fn guide(answer: &Value) -> String {
    match Guide::deserialize(answer) {
        Ok(guide) => guide.to_string(),
        Err(_) => format!("{answer:#}\n"),
    }
}

/// A line for each finding, with a sign; under those that are not as they should be, what to do.
pub(super) fn examination(answer: &Value) -> String {
    let mut shown = format!("link {}, as {}\n", text(&answer["link"]), text(&answer["product"]));
    for row in answer["findings"].as_array().into_iter().flatten() {
        let sign = match row["result"].as_str() {
            Some("ok") => '✔',
            Some("unknown") => '?',
            Some("warning") => '!',
            _ => '✖',
        };
        let fault = row["fault"].as_str().map(|_| format!(" [{}]", text(&row["fault"]))).unwrap_or_default();
        let _ = writeln!(shown, "{sign} {:<11} {}: {}{fault}", text(&row["check"]), text(&row["subject"]), text(&row["says"]));
        if row["fix"].is_string() {
            let _ = writeln!(shown, "              → {}", text(&row["fix"]));
        }
    }
    let verdict = match answer["verdict"].as_str() {
        Some("failed") => "the link does not work",
        Some("warning") => "the link works, and something should be looked at",
        _ => "the link works",
    };
    let _ = writeln!(shown, "{verdict}");
    shown
}

fn domains(answer: &Value) -> String {
    let mut shown = table(answer, &["domain", "member", "proof", "kept in"], |row| {
        let proof = &row["proof"];
        let proof = match proof["kind"].as_str() {
            Some(kind) => format!("{kind}, by {} at {}", text(&proof["by"]), when(proof["at"].as_u64())),
            None if row["declared"] == true => "declared".to_owned(),
            None => "not proven".to_owned(),
        };
        vec![text(&row["domain"]), text(&row["member"]), proof, kept(row)]
    });
    for row in answer.as_array().into_iter().flatten().filter(|row| row["declared"] == false && row["proof"].is_null()) {
        let (domain, txt) = (text(&row["domain"]), &row["txt"]);
        let record = format!("{} TXT \"{}\"", text(&txt["name"]), text(&txt["value"]));
        let url = text(&row["url"]);
        let _ = writeln!(
            shown,
            "{domain} is not proven: publish {record}, or that value alone as the file {url}; then run interchange domain check {domain}"
        );
    }
    shown
}

fn links(answer: &Value) -> String {
    table(answer, &["link", "member", "platform", "domains", "state", "why", "kept in"], |row| {
        let domains: Vec<_> = row["domains"].as_array().into_iter().flatten().map(text).collect();
        let cell = |key: &str| text(&row[key]);
        vec![cell("link"), cell("member"), cell("platform"), domains.join(" "), cell("state"), cell("why"), kept(row)]
    })
}

fn partnerships(answer: &Value) -> String {
    table(answer, &["members", "state", "invited by", "since", "until"], |row| {
        let members: Vec<_> = row["members"].as_array().into_iter().flatten().map(text).collect();
        let at = |key: &str| when(row[key].as_u64());
        vec![members.join(" "), text(&row["state"]), text(&row["invited_by"]), at("since"), at("expires")]
    })
}

/// A line for each stage, in the order in which they came.
pub(super) fn trace(answer: &Value) -> String {
    let known = answer.as_array().is_some_and(|rows| !rows.is_empty());
    if !known {
        return "nothing is known of it in memory: the log reaches further back\n".to_owned();
    }
    table(answer, &["at", "id", "kind", "from", "to", "stage", "why", "after"], |row| {
        let cell = |key: &str| text(&row[key]);
        let at = row["at"].as_u64();
        let at = format!("{}.{:03}", moment(at.map(|at| at / 1000)), at.unwrap_or_default() % 1000);
        let after = format!("{} ms", cell("elapsed_ms"));
        let link = |key: &str, side: &str| match row[side].as_str() {
            Some(link) => format!("{} ({})", cell(key), text(&link.into())),
            None => cell(key),
        };
        vec![at, cell("id"), cell("kind"), link("from", "link_in"), link("to", "link_out"), cell("stage"), cell("because"), after]
    })
}

fn barriers(answer: &Value) -> String {
    table(answer, &["barrier", "between", "and", "why", "member"], |row| {
        let side =
            |number: usize| row["between"][number].as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(" ");
        vec![text(&row["barrier"]), side(0), side(1), text(&row["reason"]), text(&row["member"])]
    })
}

fn audit(answer: &Value) -> String {
    table(answer, &["version", "at", "by", "change", "of", "from", "to"], |row| {
        let at = when(row["at"].as_u64().map(|millis| millis / 1000));
        let of = format!("{} {}", text(&row["kind"]), text(&row["id"]));
        let cell = |key: &str| text(&row[key]);
        vec![cell("version"), at, cell("actor"), cell("change"), of, cell("before"), cell("after")]
    })
}

fn kept(row: &Value) -> String {
    if row["declared"] == true { "hub.toml".to_owned() } else { "the store".to_owned() }
}

fn table(answer: &Value, head: &[&str], cells: impl Fn(&Value) -> Vec<String>) -> String {
    let rows = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return "none\n".to_owned();
    }
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(head.iter().copied());
    for row in rows {
        table.add_row(cells(row));
    }
    format!("{table}\n")
}

/// A cell: what others wrote cannot steer the terminal.
fn text(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

/// A time of day in UTC.
fn moment(seconds: Option<u64>) -> String {
    written(seconds, format_description!("[hour]:[minute]:[second]"))
}

/// A time in UTC, to the minute.
fn when(seconds: Option<u64>) -> String {
    written(seconds, format_description!("[year]-[month]-[day] [hour]:[minute]"))
}

fn written(seconds: Option<u64>, format: &[BorrowedFormatItem<'_>]) -> String {
    let at = seconds.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    at.and_then(|at| OffsetDateTime::from(at).format(format).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_for_each_and_no_control_characters() {
        let links = json!([{"link": "acme", "member": "acme", "platform": "xmpp", "domains": ["a.example", "b.example"], "state": "retrying", "why": "refused\u{1b}[2J", "declared": false}]);
        let shown = of("links")(&links);
        for wanted in ["acme", "a.example b.example", "retrying", "refused\u{FFFD}[2J", "the store"] {
            assert!(shown.contains(wanted), "{wanted}: {shown}");
        }
        assert_eq!(of("members")(&json!([])), "none\n");
        assert_eq!(when(Some(1_700_000_000)), "2023-11-14 22:13");
        assert_eq!(when(Some(u64::MAX)), "");
    }
}
