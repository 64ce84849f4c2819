//! Synapse as its documentation had it: refresh token, OAuth key, one PATCH with data URIs; callbacks sign an id and nothing else.

use data_encoding::BASE64;
use nightdrop::testing::connectors::sign::{Algorithm, Encoding, mac};
use serde_json::{Value, json};

use super::server::{Effect, Reply, Request, Review, Twist, Vendor};
use super::{Case, End, all_once, all_ways, late_list, misbehaving};

#[derive(Default)]
struct Synapse {
    patches: Vec<Effect>,
    kinds: Vec<&'static str>,
    review: Option<Review>,
    hidden: bool,
    oauths: usize,
}

impl Synapse {
    fn user(&self) -> Value {
        let status = match self.review {
            Some(Review::Accepted) => "SUBMITTED|VALID",
            Some(Review::Rejected) => "SUBMITTED|INVALID",
            _ => "SUBMITTED|REVIEWING",
        };
        let shown: &[&str] = if self.hidden { &[] } else { &self.kinds };
        let count = self.patches.len();
        let subs: Vec<Value> = shown
            .iter()
            .map(|kind| json!({"id": format!("{kind}-{count}"), "document_type": kind, "status": status, "last_updated": 1000 + count, "invalid_reasons": ["image too blurry"]}))
            .collect();
        json!({"_id": "u1", "refresh_token": "refresh_x", "documents": [{"id": "base1", "physical_docs": subs}]})
    }

    fn patch(&mut self, request: &Request) -> Result<Reply, String> {
        let body = request.json();
        let subs = body["documents"][0]["physical_docs"].as_array().ok_or("physical_docs")?;
        let (mut texts, mut sides, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
        for sub in subs {
            let uri = sub["document_value"].as_str().ok_or("document_value")?;
            let (kind, side) = match sub["document_type"].as_str() {
                Some("GOVT_ID") => ("GOVT_ID", "front"),
                Some("GOVT_ID_BACK") => ("GOVT_ID_BACK", "back"),
                Some("GOVT_ID_INT") => ("GOVT_ID_INT", "front"),
                _ => return Err("document_type".into()),
            };
            let data = uri.strip_prefix("data:image/png;base64,").ok_or("data URI")?;
            sides.push((side.to_owned(), BASE64.decode(data.as_bytes()).map_err(|e| e.to_string())?));
            texts.push(format!("{{\"document_type\":\"{kind}\",\"document_value\":\"{uri}\"}}"));
            kinds.push(kind);
        }
        let whole = format!("{{\"documents\":[{{\"id\":\"base1\",\"physical_docs\":[{}]}}]}}", texts.join(","));
        if whole.as_bytes() != request.body {
            return Err("not byte by byte".into());
        }
        self.patches.push(sides);
        self.kinds = kinds;
        Ok(Reply::json(200, self.user()))
    }
}

impl Vendor for Synapse {
    fn answer(&mut self, request: &Request, _: &str) -> Result<Reply, String> {
        let user = if request.method == "PATCH" { "oauth_1|fp" } else { "|fp" };
        let headers = ["x-sp-gateway", "x-sp-user", "x-sp-user-ip", "content-type"].map(|n| request.header(n));
        if headers != ["client_id|client_secret", user, "1.2.3.4", "application/json"] {
            return Err(format!("{headers:?}"));
        }
        match request.line().as_str() {
            "GET /v3.1/users/u1?full_dehydrate=yes" => Ok(Reply::json(200, self.user())),
            "POST /v3.1/oauth/u1" if request.json() == json!({"refresh_token": "refresh_x"}) => {
                self.oauths += 1;
                Ok(Reply::json(200, json!({"oauth_key": "oauth_1", "expires_in": "7200"})))
            }
            "PATCH /v3.1/users/u1" => self.patch(request),
            other => Err(other.to_owned()),
        }
    }

    fn carries(&self, request: &Request) -> bool {
        request.method == "PATCH"
    }

    fn effects(&self) -> Vec<Effect> {
        self.patches.clone()
    }

    fn decide(&mut self, verdict: Review) {
        self.review = Some(verdict);
    }

    fn callback(&self, now: i64) -> (Vec<(String, String)>, Vec<u8>) {
        let body = json!({"_id": {"$oid": "u1"}, "updated_on": now}).to_string();
        let signature = Encoding::Hex.encode(&mac(Algorithm::Sha256, b"client_secret", &[b"u1+client_id"]));
        (vec![("x-synapse-signature-sha256".into(), signature)], body.into_bytes())
    }

    fn clear(&mut self) {
        self.patches.clear();
        self.kinds.clear();
    }

    fn has_keys(&self) -> bool {
        false
    }

    fn hide(&mut self, hidden: bool) {
        self.hidden = hidden;
    }
}

pub fn case() -> Case {
    Case {
        kind: "synapse",
        vendor: Box::new(Synapse::default()),
        lines: "base_url = \"{base}/v3.1\"\nclient_id = \"client_id\"\nclient_secret_file = \"{secrets}/secret\"\nfingerprint_file = \"{secrets}/fp\"\nuser_ip = \"1.2.3.4\"".into(),
        secrets: vec![("secret", "client_secret".into()), ("fp", "fp".into())],
        applicant: "u1",
        one_side: "passport",
        two_sides: Some("government-id"),
    }
}

#[tokio::test]
async fn synapse_in_all_ways() {
    all_ways(case()).await;
}

#[tokio::test]
async fn synapse_misbehaving() {
    misbehaving(case(), &all_once(&[(Twist::LateAndDropped, End::Once)])).await;
}

#[tokio::test]
async fn synapse_with_a_late_list() {
    late_list(case()).await;
}
