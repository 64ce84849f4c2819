//! Lithic as its specification has it: a submission that counts against two, upload addresses, bare PUTs.

use std::collections::BTreeMap;

use nightdrop::testing::connectors::sign::sign_standard;
use serde_json::{Value, json};

use super::server::{Effect, Reply, Request, Review, Twist, Vendor};
use super::{Case, End, HARMLESS, all_ways, misbehaving};

#[derive(Default)]
struct Lithic {
    /// (type, side → bytes)
    submissions: Vec<(String, BTreeMap<String, Vec<u8>>)>,
    puts: usize,
    review: Option<Review>,
}

impl Lithic {
    fn sides(kind: &str) -> &'static [&'static str] {
        if kind == "DRIVERS_LICENSE" {
            &["FRONT", "BACK"]
        } else {
            &["FRONT"]
        }
    }

    fn show(&self, n: usize, base: &str) -> Value {
        let (kind, held) = &self.submissions[n];
        let upload = |side: &&str| {
            let status = match (held.contains_key(*side), self.review) {
                (false, _) => "PENDING_UPLOAD",
                (true, Some(Review::Accepted)) => "ACCEPTED",
                (true, Some(Review::Rejected)) => "REJECTED",
                (true, _) => "UPLOADED",
            };
            json!({"image_type": side, "status": status, "status_reasons": if status == "REJECTED" { json!(["DOCUMENT_UPLOAD_TOO_BLURRY"]) } else { json!([]) },
                   "upload_url": format!("{base}/bucket/{n}/{side}?X-Amz-Signature=abc"), "token": format!("up-{n}-{side}")})
        };
        let uploads: Vec<Value> = Self::sides(kind).iter().map(upload).collect();
        json!({"token": format!("doc-{n}"), "account_holder_token": "ah1", "document_type": kind, "entity_token": "en1", "required_document_uploads": uploads})
    }
}

impl Vendor for Lithic {
    fn answer(&mut self, request: &Request, base: &str) -> Result<Reply, String> {
        if let Some(place) = request.path.strip_prefix("/bucket/") {
            let place = place.strip_suffix("?X-Amz-Signature=abc").ok_or("signature")?;
            let (n, side) = place.split_once('/').ok_or("place")?;
            if request.method != "PUT" || !request.header("authorization").is_empty() || request.header("content-type") != "image/png" {
                return Err("the bucket gets bytes and nothing else".into());
            }
            self.puts += 1;
            let n: usize = n.parse().map_err(|_| "number")?;
            self.submissions[n].1.insert(side.to_owned(), request.body.clone());
            return Ok(Reply::empty(200));
        }
        if request.header("authorization") != "key" {
            return Err("authorization".into());
        }
        match request.line().as_str() {
            "GET /v1/account_holders/ah1" => Ok(Reply::json(
                200,
                json!({"token": "ah1", "required_documents": [{"entity_token": "en1", "valid_documents": ["PASSPORT", "DRIVERS_LICENSE"], "status_reasons": []}]}),
            )),
            "GET /v1/account_holders/ah1/documents" => {
                let all: Vec<Value> = (0..self.submissions.len()).map(|n| self.show(n, base)).collect();
                Ok(Reply::json(200, json!({"data": all})))
            }
            "POST /v1/account_holders/ah1/documents" => {
                let body = request.json();
                let kind = body["document_type"].as_str().unwrap_or_default().to_owned();
                if request.text() != format!("{{\"document_type\":\"{kind}\",\"entity_token\":\"en1\"}}") {
                    return Err(request.text());
                }
                self.submissions.push((kind, BTreeMap::new()));
                Ok(Reply::json(201, self.show(self.submissions.len() - 1, base)))
            }
            line => {
                let n = line
                    .strip_prefix("GET /v1/account_holders/ah1/documents/doc-")
                    .and_then(|n| n.parse().ok());
                n.map(|n| Reply::json(200, self.show(n, base))).ok_or_else(|| line.to_owned())
            }
        }
    }

    fn carries(&self, request: &Request) -> bool {
        request.method != "GET"
    }

    fn effects(&self) -> Vec<Effect> {
        // Every submission counts, whether or not anything was uploaded.
        let sides = |held: &BTreeMap<String, Vec<u8>>| {
            ["FRONT", "BACK"]
                .iter()
                .filter_map(|s| Some((s.to_lowercase(), held.get(*s)?.clone())))
                .collect()
        };
        self.submissions.iter().map(|(_, held)| sides(held)).collect()
    }

    fn decide(&mut self, verdict: Review) {
        self.review = Some(verdict);
    }

    fn callback(&self, now: i64) -> (Vec<(String, String)>, Vec<u8>) {
        let body =
            json!({"token": "doc-0", "account_holder_token": "ah1", "entity_token": "en1", "document_type": "PASSPORT", "updated": now})
                .to_string();
        let signature = sign_standard(b"key", "msg_1", now, body.as_bytes());
        let headers = [
            ("webhook-id", "msg_1".to_owned()),
            ("webhook-timestamp", now.to_string()),
            ("webhook-signature", signature),
        ];
        (headers.map(|(n, v)| (n.into(), v)).to_vec(), body.into_bytes())
    }

    fn clear(&mut self) {
        self.submissions.clear();
        self.puts = 0;
    }

    fn has_keys(&self) -> bool {
        false
    }

    fn hide(&mut self, _: bool) {}
}

pub fn case() -> Case {
    Case {
        kind: "lithic",
        vendor: Box::new(Lithic::default()),
        lines:
            "base_url = \"{base}\"\napi_key_file = \"{secrets}/key\"\nupload_hosts = [\"{host}\"]\nwebhook_secret_file = \"{secrets}/hook\""
                .into(),
        secrets: vec![("key", "key".into()), ("hook", "whsec_a2V5".into())],
        applicant: "ah1",
        one_side: "passport",
        two_sides: Some("drivers-license"),
    }
}

#[tokio::test]
async fn lithic_in_all_ways() {
    all_ways(case()).await;
}

#[tokio::test]
async fn lithic_misbehaving() {
    misbehaving(case(), &HARMLESS).await;
    // Never an automatic second submission; bytes that did not reach the address of one are put again.
    misbehaving(
        case(),
        &[
            (Twist::CommitThenDrop, End::Either),
            (Twist::CommitThenSilence, End::Either),
            (Twist::CommitThenError, End::Either),
            (Twist::CommitThenEndless, End::Either),
            (Twist::LostAndGarbled, End::Either),
            (Twist::DropBefore, End::Either),
        ],
    )
    .await;
}
