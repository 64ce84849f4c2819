//! Dwolla as its documentation has it: a token, then one multipart request per side, whose address is in `Location`.

use nightdrop::testing::connectors::sign::{Algorithm, Encoding, mac};
use serde_json::{Value, json};

use super::server::{Effect, Reply, Request, Review, Twist, Vendor};
use super::{Case, End, again_under_one_key, all_once, all_ways, late_list, misbehaving};

#[derive(Default)]
struct Dwolla {
    /// (type, side, bytes)
    documents: Vec<(String, String, Vec<u8>)>,
    review: Option<Review>,
    hidden: bool,
}

impl Dwolla {
    fn list(&self) -> Value {
        let document = |(n, (kind, _, _)): (usize, &(String, String, Vec<u8>))| {
            let mut document = json!({"id": format!("doc-{n}"), "status": "pending", "type": kind, "created": format!("2026-01-01T00:00:0{n}.000Z"), "documentVerificationStatus": "pending"});
            match self.review {
                Some(Review::Accepted) => document["documentVerificationStatus"] = json!("accepted"),
                Some(Review::Rejected) => {
                    document["documentVerificationStatus"] = json!("rejected");
                    document["failureReason"] = json!("ScanNotReadable");
                }
                _ => {}
            }
            document
        };
        let shown = if self.hidden {
            self.documents.len() - 1
        } else {
            self.documents.len()
        };
        let old = json!({"id": "doc-old", "status": "reviewed", "type": "idCard", "created": "2015-01-01T00:00:00.000Z", "documentVerificationStatus": "rejected", "failureReason": "ScanIdExpired"});
        let all: Vec<Value> = std::iter::once(old)
            .chain(self.documents.iter().take(shown).enumerate().map(document))
            .collect();
        json!({"_links": {}, "_embedded": {"documents": all}, "total": all.len()})
    }

    fn upload(&mut self, request: &Request, base: &str) -> Result<Reply, String> {
        let fields = request.form()?;
        let [kind, file] = &fields[..] else {
            return Err("two parts".into());
        };
        let side = if file.file("file", "front").is_some() { "front" } else { "back" };
        if !kind.is_text("documentType") || !["idCard", "passport"].contains(&kind.text().as_str()) || file.file("file", side).is_none() {
            return Err("names".into());
        }
        if let Some(n) = self.documents.iter().position(|(_, _, bytes)| *bytes == file.bytes) {
            let link =
                json!({"code": "DuplicateResource", "message": "", "_links": {"about": {"href": format!("{base}/documents/doc-{n}")}}});
            return Ok(Reply::json(400, link));
        }
        self.documents.push((kind.text(), side.to_owned(), file.bytes.clone()));
        let address = format!("{base}/documents/doc-{}", self.documents.len() - 1);
        Ok(Reply::empty(201).with("location", &address))
    }
}

impl Vendor for Dwolla {
    fn answer(&mut self, request: &Request, base: &str) -> Result<Reply, String> {
        if request.line() == "POST /token" {
            // The vendor takes both ways; ours is Basic.
            let good = request.header("authorization") == "Basic a2V5OnNlY3JldA==" && request.text() == "grant_type=client_credentials";
            return if good {
                Ok(Reply::json(
                    200,
                    json!({"access_token": "tok", "token_type": "bearer", "expires_in": 3600}),
                ))
            } else {
                Err("token".into())
            };
        }
        if request.header("authorization") != "Bearer tok" || request.header("accept") != "application/vnd.dwolla.v1.hal+json" {
            return Err("headers".into());
        }
        match request.line().as_str() {
            "GET /customers/cust1" => Ok(Reply::json(200, json!({"id": "cust1", "status": "document"}))),
            "GET /customers/cust1/documents" => Ok(Reply::json(200, self.list())),
            "POST /customers/cust1/documents" => self.upload(request, base),
            other => Err(other.to_owned()),
        }
    }

    fn carries(&self, request: &Request) -> bool {
        request.method == "POST" && request.path != "/token"
    }

    fn effects(&self) -> Vec<Effect> {
        let all: Effect = self
            .documents
            .iter()
            .map(|(_, side, bytes)| (side.clone(), bytes.clone()))
            .collect();
        Some(all).filter(|a| !a.is_empty()).into_iter().collect()
    }

    fn decide(&mut self, verdict: Review) {
        self.review = Some(verdict);
    }

    fn callback(&self, now: i64) -> (Vec<(String, String)>, Vec<u8>) {
        let body = json!({"id": now, "resourceId": "doc-0", "topic": "customer_verification_document_approved",
            "_links": {"customer": {"href": "https://api-sandbox.dwolla.com/customers/cust1"}}})
        .to_string();
        let signature = Encoding::Hex.encode(&mac(Algorithm::Sha256, b"hook", &[body.as_bytes()]));
        (vec![("x-request-signature-sha-256".into(), signature)], body.into_bytes())
    }

    fn clear(&mut self) {
        self.documents.clear();
        self.hidden = false;
    }

    fn has_keys(&self) -> bool {
        true
    }

    fn hide(&mut self, hidden: bool) {
        self.hidden = hidden;
    }
}

pub fn case() -> Case {
    Case {
        kind: "dwolla",
        vendor: Box::new(Dwolla::default()),
        lines: "base_url = \"{base}\"\nclient_id = \"key\"\nclient_secret_file = \"{secrets}/secret\"\nwebhook_secret_file = \"{secrets}/hook\"".into(),
        secrets: vec![("secret", "secret".into()), ("hook", "hook".into())],
        applicant: "cust1",
        one_side: "passport",
        two_sides: Some("government-id"),
    }
}

#[tokio::test]
async fn dwolla_in_all_ways() {
    all_ways(case()).await;
}

#[tokio::test]
async fn dwolla_misbehaving() {
    // The sides that are noted are not sent again, whatever key the others need.
    let more = [
        (Twist::LateAndDropped, End::Once),
        (Twist::ForgottenKey, End::Once),
        (Twist::StoredFailure, End::Once),
        (Twist::FailedAndGarbled, End::Once),
    ];
    misbehaving(case(), &all_once(&more)).await;
}

#[tokio::test]
async fn dwolla_with_a_late_list() {
    late_list(case()).await;
}

#[tokio::test]
async fn dwolla_again_under_one_key() {
    again_under_one_key(case()).await;
}
