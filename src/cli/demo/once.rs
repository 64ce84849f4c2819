//! `demo --once`: the whole loop by itself over HTTP, and the proof of every promise: byte for byte, confirmed, purged, a receipt that verifies offline, and nothing left
//! that the still present private key could open.

use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::format_description::well_known::Rfc3339;

use crate::chain::chain;
use crate::cli::output::{self, Failure, Outcome};
use crate::connectors::client::install_tls;
use crate::crypto::header::Header;
use crate::crypto::open::{DocumentOpener, OpenError};
use crate::domain::request::RequestState;

use super::events::{Tail, clock};
use super::search::{Looked, Needles, PIECE};
use super::{APPLICANT, LOOK_EVERY, Screen, Stage, bytes};

/// The sample photos: a specimen that is nobody's, without metadata, so that there is nothing to strip.
const PHOTOS: [(&str, &[u8]); 2] = [
    ("front", include_bytes!("../../../assets/demo/id-front.jpg")),
    ("back", include_bytes!("../../../assets/demo/id-back.jpg")),
];

/// The whole loop takes a few seconds; a machine that needs longer than this has a fault worth a look.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was proven, in the order in which it was.
type Checks = Vec<(&'static str, String)>;

pub(super) async fn walk(stage: &mut Stage, screen: &mut Screen, tail: &mut Tail, begun: Instant) -> Outcome {
    install_tls();
    let client = Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .timeout(PATIENCE)
        .build()
        .map_err(|e| Failure::new(chain(&e).to_string()))?;
    for step in tail.look().await? {
        screen.step(&step)?;
    }
    drop_photos(stage, &client).await?;
    let headers = remember_headers(stage).await?;
    stage.start_worker();
    let states = follow(stage, screen, tail).await?;
    let mut checks = Checks::new();
    let expected = ["awaiting", "received", "forwarding", "awaiting_confirmation", "confirmed", "purged"];
    check(&mut checks, "loop", states == expected, || {
        format!("the request went through {}", states.join(", "))
    })?;
    same_bytes(stage, &client, &mut checks).await?;
    link_shows_receipt(stage, &client, &mut checks).await?;
    undecryptable(stage, &headers, &mut checks)?;
    nothing_on_disk(stage, &mut checks).await?;
    report(stage, screen, &checks, begun)
}

/// What a phone does: looks at the page, then sends the form.
async fn drop_photos(stage: &Stage, client: &Client) -> Outcome {
    let page = client
        .get(&*stage.upload_url)
        .header("accept", "text/html")
        .send()
        .await
        .map_err(http)?;
    if page.status() != StatusCode::OK {
        return Err(Failure::new(format!("the upload page answered {}", page.status())));
    }
    let boundary = format!("nightdrop-demo-{}", HEXLOWER.encode(&bytes::<16>()?));
    let mut form = Vec::new();
    for (part, photo) in PHOTOS {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{part}\"; filename=\"id-{part}.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n"
        );
        form.extend_from_slice(head.as_bytes());
        form.extend_from_slice(photo);
        form.extend_from_slice(b"\r\n");
    }
    form.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let sent = client
        .post(&*stage.upload_url)
        .header("accept", "application/json")
        .header("content-type", format!("multipart/form-data; boundary={boundary}"))
        .body(form);
    let answer = sent.send().await.map_err(http)?;
    let status = answer.status();
    let text = answer.text().await.map_err(http)?;
    if status.is_success() {
        Ok(())
    } else {
        Err(Failure::new(format!(
            "the drop was answered with {status}: {}",
            output::plain(&text)
        )))
    }
}

/// The headers of the sealed parts. That they open now is what makes "they do not open afterwards" mean something.
async fn remember_headers(stage: &Stage) -> Outcome<Vec<Vec<u8>>> {
    let portal = stage.portal();
    let request = portal
        .requests
        .request(stage.request)
        .await?
        .ok_or_else(|| Failure::new("the request is gone"))?;
    let document = request
        .document()
        .ok_or_else(|| Failure::new("the portal holds nothing although it said \"received\""))?;
    let headers: Vec<Vec<u8>> = document.parts.iter().map(|p| p.header.clone()).collect();
    for header in &headers {
        DocumentOpener::open_stored(header, &portal.keyring, portal.erasure.as_ref())
            .map_err(|e| Failure::new(format!("a part that is held does not open: {}", chain(&e))))?;
    }
    Ok(headers)
}

/// Shows every step until the purge; the states that this request went through.
async fn follow(stage: &Stage, screen: &mut Screen, tail: &mut Tail) -> Outcome<Vec<&'static str>> {
    let mut states = vec![RequestState::Awaiting.as_str()];
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        for step in tail.look().await? {
            screen.step(&step)?;
            if step.request != stage.request {
                continue;
            }
            states.push(step.state.as_str());
            match step.state {
                RequestState::Purged if step.receipt.as_ref().is_some_and(|r| r.verified) => return Ok(states),
                RequestState::Purged => return Err(Failure::new("the deletion receipt does not verify")),
                RequestState::NeedsAttention | RequestState::Rejected => {
                    return Err(Failure::new(format!(
                        "the request came to {} instead of being confirmed",
                        step.state.as_str()
                    )));
                }
                _ => {}
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(Failure::new(format!(
        "the document was not purged within {} s; the last state was {}",
        PATIENCE.as_secs(),
        states[states.len() - 1]
    )))
}

/// The provider's own books against what was sent.
async fn same_bytes(stage: &Stage, client: &Client, checks: &mut Checks) -> Outcome {
    let books = client
        .get(format!("{}/received", stage.sandbox.url()))
        .send()
        .await
        .map_err(http)?
        .text()
        .await
        .map_err(http)?;
    let books: Value = serde_json::from_str(&books).map_err(|e| Failure::new(format!("the provider's books cannot be read: {e}")))?;
    let parts: Vec<Value> = PHOTOS
        .iter()
        .map(|(part, photo)| json!({"part": part, "sha256": HEXLOWER.encode(&Sha256::digest(photo)), "size": photo.len()}))
        .collect();
    let expected = json!([{"applicant": APPLICANT, "document": "government-id", "parts": parts, "deliveries": 1}]);
    check(checks, "bytes", books == expected, || {
        let sizes: Vec<String> = PHOTOS.iter().map(|(part, photo)| format!("{part} {} bytes", photo.len())).collect();
        format!("the provider has the same bytes, once: {}, SHA-256 equal", sizes.join(", "))
    })
}

/// The applicant's link tells that it is done, and when it was deleted.
async fn link_shows_receipt(stage: &Stage, client: &Client, checks: &mut Checks) -> Outcome {
    let answer = client
        .get(&*stage.upload_url)
        .header("accept", "application/json")
        .send()
        .await
        .map_err(http)?
        .text()
        .await
        .map_err(http)?;
    let shown: Value = serde_json::from_str(&answer).unwrap_or_default();
    let right = shown["state"] == "received"
        && shown["purged_at"].is_string()
        && shown["parts"].as_array().is_some_and(|p| p.len() == PHOTOS.len());
    check(checks, "link", right, || {
        format!(
            "the upload link shows a receipt, reference {}",
            shown["reference"].as_str().unwrap_or("?")
        )
    })
}

/// The private key is still here, and opens nothing any more.
fn undecryptable(stage: &Stage, headers: &[Vec<u8>], checks: &mut Checks) -> Outcome {
    let portal = stage.portal();
    let key_is_here = headers
        .iter()
        .all(|h| Header::parse(h).is_ok_and(|h| portal.keyring.secret(&h.key_id).is_ok()));
    let erased = headers.iter().all(|header| {
        matches!(
            DocumentOpener::open_stored(header, &portal.keyring, portal.erasure.as_ref()),
            Err(OpenError::Erased)
        )
    });
    check(checks, "key", key_is_here && erased && headers.len() == PHOTOS.len(), || {
        "the remembered sealed parts do not open any more, although the private key is still here".to_owned()
    })
}

async fn nothing_on_disk(stage: &Stage, checks: &mut Checks) -> Outcome {
    let folder = stage.data_dir.clone();
    let searched = tokio::task::spawn_blocking(move || {
        let mut looked = Looked::default();
        let needles = Needles::new(PHOTOS.iter().map(|(_, photo)| *photo).collect());
        needles.below(&folder, &mut looked).map(|found| (found, looked))
    });
    let searched = searched.await.map_err(|_| Failure::new("the search broke off"))?;
    let (found, looked) = searched.map_err(|e| Failure::new(format!("the data folder cannot be searched: {e}")))?;
    if let Some(file) = found {
        return Err(Failure::new(format!("{} holds a piece of the photo in the clear", file.display())));
    }
    check(checks, "disk", looked.files > 0, || {
        format!(
            "no {PIECE} bytes in a row of the photos in any of {} files ({} MiB)",
            looked.files,
            looked.bytes >> 20
        )
    })
}

fn check(checks: &mut Checks, name: &'static str, right: bool, what: impl FnOnce() -> String) -> Outcome {
    let what = what();
    if !right {
        return Err(Failure::new(format!("this promise was not kept: {what}")));
    }
    checks.push((name, what));
    Ok(())
}

fn report(stage: &Stage, screen: &Screen, checks: &Checks, begun: Instant) -> Outcome {
    let now = stage.portal().now();
    if screen.json {
        let proven: Vec<Value> = checks
            .iter()
            .map(|(name, what)| json!({"check": name, "ok": true, "text": what}))
            .collect();
        return output::json(&json!({
            "at": now.format(&Rfc3339).unwrap_or_default(),
            "request": stage.request.to_string(),
            "state": "purged",
            "event": "demo.proven",
            "ok": true,
            "checks": proven,
        }));
    }
    output::line("")?;
    for (_, what) in checks {
        output::line(format_args!("  {}  {} {what}", clock(now), screen.marks.good()))?;
    }
    output::line(format_args!("\nEvery promise was kept, in {:.1} s.", begun.elapsed().as_secs_f64()))
}

fn http(error: reqwest::Error) -> Failure {
    // The address of an upload link is a secret.
    Failure::new(format!("the demo cannot reach itself: {}", error.without_url()))
}
