//! Settings of a link, as they are typed.

use anyhow::Context;
use serde_json::Value;

use crate::config::json_settings;

/// `KEY=VALUE` as a line of TOML would be read; what is no value there is a text, so that names of hosts need no quotes.
pub(super) fn read_settings(settings: &[String]) -> anyhow::Result<Value> {
    let mut all = toml::Table::new();
    for setting in settings {
        let (key, value) = setting.split_once('=').with_context(|| format!("`{}` is not KEY=VALUE", setting.escape_debug()))?;
        let key = key.trim();
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            anyhow::bail!("`{}` is not the name of a setting: see the platform's page in docs/platforms", key.escape_debug());
        }
        let parsed = toml::from_str::<toml::Table>(&format!("value = {value}")).ok();
        // One value and nothing after it: a line break in it could bring more.
        let parsed = parsed.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
        all.insert(key.to_owned(), parsed.unwrap_or_else(|| toml::Value::String(value.trim().to_owned())));
    }
    Ok(Value::Object(json_settings(&all).0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_read_as_one_writes_them() {
        let read = |settings: &[&str]| read_settings(&settings.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            read(&[
                "host=xmpp.acme.example",
                "port=5269",
                "bidi = true",
                "authentication=[\"dialback\"]",
                "note=\"a=b\"",
                "address=10.0.0.1"
            ])
            .unwrap(),
            json!({"host": "xmpp.acme.example", "port": 5269, "bidi": true, "authentication": ["dialback"], "note": "a=b", "address": "10.0.0.1"})
        );
        assert!(read(&["host"]).unwrap_err().to_string().contains("KEY=VALUE"));
        assert!(read(&["a.b=1"]).unwrap_err().to_string().contains("name of a setting"));
    }
}
