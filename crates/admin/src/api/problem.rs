//! Errors as problem details (RFC 9457).

use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use interchange_registry::{ChangeError, ChangeFault, StoreError};

/// What a client is told.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let problem = serde_json::json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let media = [(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))];
        let mut response = (self.status, media, problem.to_string()).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 6750 §3
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"interchange\""));
        }
        response
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let status = match error.fault {
            ChangeFault::Forbidden => StatusCode::FORBIDDEN,
            ChangeFault::NotFound => StatusCode::NOT_FOUND,
            ChangeFault::Conflict => StatusCode::CONFLICT,
            ChangeFault::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            ChangeFault::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.message)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "what is registered cannot be read");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the hub's database fails: its log says why")
    }
}
