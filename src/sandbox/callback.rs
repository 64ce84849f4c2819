//! Telling verdicts to the portal, signed as Standard Webhooks, tried a few times.

use std::time::Duration;

use actix_web::web;
use serde_json::json;
use time::OffsetDateTime;

use super::State;
use super::book::Telling;
use super::script::Tell;
use crate::connectors::{client, sign};

/// Pauses before each try.
const TRIES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
];

pub(super) fn client() -> reqwest::Result<reqwest::Client> {
    client::install_tls();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .tls_certs_only([])
        .timeout(Duration::from_secs(10))
        .build()
}

/// Tells in the background. The address is the one known now.
pub(super) fn tell(state: &web::Data<State>, telling: Option<Telling>) {
    let Some(telling) = telling else { return };
    let url = state.callback_url.read().unwrap_or_else(|e| e.into_inner()).clone();
    let Some(url) = url else { return };
    let times = match telling.tell {
        Tell::Never => return,
        Tell::Twice => 2,
        Tell::Once | Tell::BadSignature => 1,
    };
    let state = state.clone();
    tokio::spawn(async move {
        for _ in 0..times {
            send(&state, &url, &telling).await;
        }
    });
}

async fn send(state: &State, url: &str, telling: &Telling) {
    let body = json!({"type": format!("document.{}", telling.status), "document": telling.document}).to_string();
    let id = format!("evt_{}_{}", telling.document, telling.status);
    for pause in TRIES {
        tokio::time::sleep(pause).await;
        // This provider is a program of its own and reads its own clock.
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let key = if telling.tell == Tell::BadSignature {
            &b"not the key"[..]
        } else {
            &state.webhook_key
        };
        let request = state
            .http
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", sign::sign_standard(key, &id, now, body.as_bytes()));
        let taken = request
            .body(body.clone())
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success());
        if taken || telling.tell == Tell::BadSignature {
            return;
        }
    }
}
