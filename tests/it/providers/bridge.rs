//! Bridge as its documentation has it: the customer is put with data URIs; callbacks carry an RSA signature over a hash of a hash.

use data_encoding::{BASE64, BASE64_MIME_PERMISSIVE};
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::server::{Effect, Reply, Request, Review, Twist, Vendor};
use super::{Case, End, all_once, all_ways, misbehaving};

/// Made for this test; it opens nothing. (PKCS#8 and SubjectPublicKeyInfo)
const KEY: &str = include_str!("bridge-key.txt");
const PUBLIC: &str = include_str!("bridge-public.pem");

#[derive(Default)]
struct Bridge {
    puts: Vec<Effect>,
    review: Option<Review>,
}

fn decode(uri: &Value) -> Result<Vec<u8>, String> {
    let data = uri
        .as_str()
        .and_then(|u| u.strip_prefix("data:image/png;base64,"))
        .ok_or("data URI")?;
    BASE64.decode(data.as_bytes()).map_err(|e| e.to_string())
}

impl Bridge {
    fn put(&mut self, request: &Request) -> Result<Reply, String> {
        let body = request.json();
        let mut sides: Effect = Vec::new();
        if let Some(document) = body["documents"].get(0) {
            let (file, name) = (
                document["file"].as_str().unwrap_or_default(),
                document["description"].as_str().unwrap_or_default(),
            );
            let whole =
                format!("{{\"documents\":[{{\"purposes\":[\"proof_of_address\"],\"file\":\"{file}\",\"description\":\"{name}\"}}]}}");
            if whole.as_bytes() != request.body {
                return Err("documents".into());
            }
            sides.push(("front".into(), decode(&document["file"])?));
        } else {
            let id = &body["identifying_information"][0];
            let (front, back) = (
                id["image_front"].as_str().unwrap_or_default(),
                id["image_back"].as_str().unwrap_or_default(),
            );
            let whole = format!(
                "{{\"identifying_information\":[{{\"type\":\"national_id\",\"issuing_country\":\"USA\",\"image_front\":\"{front}\",\"image_back\":\"{back}\"}}]}}"
            );
            if whole.as_bytes() != request.body {
                return Err("identifying_information".into());
            }
            sides = vec![
                ("front".into(), decode(&id["image_front"])?),
                ("back".into(), decode(&id["image_back"])?),
            ];
        }
        self.puts.push(sides);
        Ok(Reply::json(200, self.customer()))
    }

    fn customer(&self) -> Value {
        let both = json!(["id_verification", "proof_of_address"]);
        let (complete, pending, issues) = match self.review {
            Some(Review::Accepted) => (both, json!([]), json!([])),
            Some(Review::Rejected) => (
                json!([]),
                json!([]),
                json!([{"id_front_photo": "unreadable"}, {"proof_of_address": "unreadable"}]),
            ),
            _ => (json!([]), both, json!([])),
        };
        json!({"id": "cust1", "status": "incomplete", "requirements_due": ["external_account"],
            "endorsements": [{"name": "base", "status": "incomplete", "requirements": {"complete": complete, "pending": pending, "missing": null, "issues": issues}}]})
    }
}

impl Vendor for Bridge {
    fn answer(&mut self, request: &Request, _: &str) -> Result<Reply, String> {
        if request.header("api-key") != "key" {
            return Err("api-key".into());
        }
        match request.line().as_str() {
            "GET /v0/customers/cust1" => Ok(Reply::json(200, self.customer())),
            "PUT /v0/customers/cust1" => self.put(request),
            other => Err(other.to_owned()),
        }
    }

    fn carries(&self, request: &Request) -> bool {
        request.method == "PUT"
    }

    fn effects(&self) -> Vec<Effect> {
        self.puts.clone()
    }

    fn decide(&mut self, verdict: Review) {
        self.review = Some(verdict);
    }

    fn callback(&self, now: i64) -> (Vec<(String, String)>, Vec<u8>) {
        let body = json!({"event_type": "customer.updated", "event_object_id": "cust1", "event_object": {"id": "cust1"}, "event_id": now})
            .to_string();
        let time = (now * 1_000).to_string();
        let digest = Sha256::digest(format!("{time}.{body}"));
        let key = RsaKeyPair::from_pkcs8(&BASE64_MIME_PERMISSIVE.decode(KEY.trim().as_bytes()).unwrap()).unwrap();
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &ring::rand::SystemRandom::new(), &digest, &mut signature)
            .unwrap();
        (
            vec![("x-webhook-signature".into(), format!("t={time},v0={}", BASE64.encode(&signature)))],
            body.into_bytes(),
        )
    }

    fn clear(&mut self) {
        self.puts.clear();
    }

    fn has_keys(&self) -> bool {
        true
    }

    fn hide(&mut self, _: bool) {}
}

pub fn case() -> Case {
    Case {
        kind: "bridge",
        vendor: Box::new(Bridge::default()),
        lines: "base_url = \"{base}/v0\"\napi_key_file = \"{secrets}/key\"\ncountry = \"USA\"\nwebhook_key_file = \"{secrets}/public\""
            .into(),
        secrets: vec![("key", "key".into()), ("public", PUBLIC.into())],
        applicant: "cust1",
        one_side: "proof-of-address",
        two_sides: Some("government-id"),
    }
}

#[tokio::test]
async fn bridge_in_all_ways() {
    all_ways(case()).await;
}

#[tokio::test]
async fn bridge_misbehaving() {
    misbehaving(
        case(),
        &all_once(&[(Twist::StoredFailure, End::Person), (Twist::FailedAndGarbled, End::Person)]),
    )
    .await;
}
