//! The document of the API (OpenAPI 3.1): `openapi.json` beside this folder. It is written by hand and held to the truth by tests: its paths are the
//! router's, its changes are those that are understood, and the integration tests have every answer compared with it.

use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

/// The document.
pub(crate) const DOCUMENT: &str = include_str!("../openapi.json");

/// It says nothing of this hub, so it needs no token: whoever writes a client may read it.
pub(super) async fn document() -> Response {
    let headers =
        [(CONTENT_TYPE, HeaderValue::from_static("application/json")), (CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (headers, DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use interchange_registry::Change;
    use serde_json::{Map, Value, json};

    use super::*;

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).expect("it is JSON")
    }

    #[test]
    fn every_route_is_in_the_document_and_the_other_way_round() {
        let source = include_str!("../api.rs");
        let mut routes = BTreeSet::new();
        for line in source.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
            let (path, handlers) = line.split_once('"').expect("a path ends");
            for method in ["get", "post"] {
                if handlers.contains(&format!("{method}(")) {
                    routes.insert((path.to_owned(), method.to_owned()));
                }
            }
        }
        let document = document();
        let mut documented = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().expect("paths") {
            documented.extend(operations.as_object().expect("operations").keys().map(|method| (path.clone(), method.clone())));
        }
        assert!(routes.len() > 15, "{routes:?}");
        assert_eq!(routes, documented);
        let ids: Vec<&Value> = document["paths"]
            .as_object()
            .into_iter()
            .flatten()
            .flat_map(|(_, all)| all.as_object().into_iter().flatten())
            .map(|(_, operation)| &operation["operationId"])
            .collect();
        assert_eq!(ids.iter().map(|id| id.to_string()).collect::<BTreeSet<_>>().len(), ids.len(), "each has a name of its own");
    }

    /// Something that fits a schema of this document.
    fn sample(document: &Value, schema: &Value) -> Value {
        if let Some(name) = schema["$ref"].as_str() {
            return sample(document, document.pointer(name.trim_start_matches('#')).expect("it is there"));
        }
        if let Some(value) = schema.get("const").or_else(|| schema["examples"].get(0)) {
            return value.clone();
        }
        match schema["type"].as_str().or_else(|| schema["type"][0].as_str()) {
            Some("array") => {
                let least = schema["minItems"].as_u64().unwrap_or(1);
                (0..least).map(|_| sample(document, &schema["items"])).collect()
            }
            Some("object") => {
                let properties = schema["properties"].as_object().cloned().unwrap_or_default();
                properties.iter().map(|(key, value)| (key.clone(), sample(document, value))).collect::<Map<_, _>>().into()
            }
            Some("integer") => schema["minimum"].clone(),
            Some("boolean") => json!(true),
            _ => json!("x"),
        }
    }

    #[test]
    fn the_changes_of_the_document_are_those_that_are_understood() {
        let document = document();
        let changes = document["components"]["schemas"]["Change"]["oneOf"].as_array().expect("changes");
        let named: BTreeSet<String> =
            changes.iter().filter_map(|change| change["properties"]["change"]["const"].as_str()).map(str::to_owned).collect();
        // serde lists what it knows.
        let unknown = serde_json::from_value::<Change>(json!({"change": "?"})).expect_err("there is no such change").to_string();
        let known: BTreeSet<String> = unknown.split('`').skip(3).step_by(2).map(str::to_owned).collect();
        assert_eq!(named, known, "{unknown}");
        for schema in changes {
            let whole = sample(&document, schema);
            let read = |value: &Value| serde_json::from_value::<Change>(value.clone());
            assert!(read(&whole).is_ok(), "{whole}: {:?}", read(&whole));
            let required: Vec<_> = schema["required"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
            for key in whole.as_object().expect("an object").keys() {
                let mut without = whole.clone();
                without.as_object_mut().expect("an object").remove(key);
                assert_eq!(read(&without).is_ok(), !required.contains(&key.as_str()), "{key} of {whole}");
            }
            let mut more = whole.clone();
            more["something"] = json!(1);
            assert!(read(&more).is_err(), "{more}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut open = vec![&document];
        let mut seen = 0;
        while let Some(value) = open.pop() {
            match value {
                Value::Object(object) => {
                    if let Some(Value::String(name)) = object.get("$ref") {
                        assert!(document.pointer(name.trim_start_matches('#')).is_some(), "{name}");
                        seen += 1;
                    }
                    open.extend(object.values());
                }
                Value::Array(values) => open.extend(values),
                _ => {}
            }
        }
        assert!(seen > 50, "{seen}");
    }
}
