//! Adyen as its specification has it: all sides in one JSON request under a key; problems of the legal entity.

use data_encoding::BASE64;
use nightdrop::testing::connectors::sign::{Algorithm, Encoding, mac};
use serde_json::{Value, json};

use super::server::{Effect, Reply, Request, Review, Twist, Vendor};
use super::{Case, End, again_under_one_key, all_once, all_ways, late_list, misbehaving};

#[derive(Default)]
struct Adyen {
    /// (file name, sides)
    documents: Vec<(String, Effect)>,
    review: Option<Review>,
    hidden: bool,
}

impl Adyen {
    fn upload(&mut self, request: &Request) -> Result<Reply, String> {
        let body = request.json();
        let list = body["attachments"].as_array().ok_or("attachments")?;
        let two = body["type"] == json!("identityCard");
        let (mut sides, mut texts) = (Vec::new(), Vec::new());
        for (n, attachment) in list.iter().enumerate() {
            let side = ["front", "back"][n];
            let content = attachment["content"].as_str().ok_or("content")?;
            let name = attachment["pageName"].as_str().ok_or("pageName")?;
            let page = if two { format!("\"pageType\":\"{side}\",") } else { String::new() };
            texts.push(format!("{{\"content\":\"{content}\",{page}\"pageName\":\"{name}\"}}"));
            sides.push((side.to_owned(), BASE64.decode(content.as_bytes()).map_err(|e| e.to_string())?));
        }
        let kind = if two { "identityCard" } else { "passport" };
        let (file, description) = (
            body["fileName"].as_str().unwrap_or_default(),
            body["description"].as_str().unwrap_or_default(),
        );
        let whole = format!(
            "{{\"type\":\"{kind}\",\"description\":\"{description}\",\"owner\":{{\"id\":\"LE1\",\"type\":\"legalEntity\"}},\"fileName\":\"{file}\",\"attachments\":[{}]}}",
            texts.join(",")
        );
        if whole.as_bytes() != request.body
            || description.is_empty()
            || !file.ends_with("-front.png")
            || request.header("content-type") != "application/json"
        {
            return Err("not byte by byte".into());
        }
        self.documents.push((file.to_owned(), sides));
        Ok(Reply::json(200, json!({"id": format!("SE-{}", self.documents.len())})))
    }

    fn entity(&self) -> Value {
        let shown = if self.hidden { 0 } else { self.documents.len() };
        let details: Vec<Value> = self
            .documents
            .iter()
            .take(shown)
            .enumerate()
            .map(|(n, (file, _))| json!({"id": format!("SE-{}", n + 1), "fileName": file, "active": true}))
            .collect();
        let state = if self.review == Some(Review::Accepted) {
            "valid"
        } else {
            "pending"
        };
        let mut entity =
            json!({"id": "LE1", "documentDetails": details, "capabilities": {"receivePayments": {"verificationStatus": state}}});
        if self.review == Some(Review::Rejected) {
            entity["problems"] = json!([{"entity": {"id": "SE-1", "type": "Document", "owner": {"id": "LE1"}}, "verificationErrors": [
                {"type": "invalidInput", "code": "1_703", "message": "The document was blurry", "remediatingActions": [{"code": "1_1", "message": "Upload a different document"}]}]}]);
        }
        entity
    }
}

impl Vendor for Adyen {
    fn answer(&mut self, request: &Request, _: &str) -> Result<Reply, String> {
        if request.header("x-api-key") != "key" {
            return Err("x-api-key".into());
        }
        match request.line().as_str() {
            "POST /lem/v3/documents" => self.upload(request),
            "GET /lem/v3/legalEntities/LE1" => Ok(Reply::json(200, self.entity())),
            other => Err(other.to_owned()),
        }
    }

    fn carries(&self, request: &Request) -> bool {
        request.method == "POST"
    }

    fn effects(&self) -> Vec<Effect> {
        self.documents.iter().map(|(_, sides)| sides.clone()).collect()
    }

    fn decide(&mut self, verdict: Review) {
        self.review = Some(verdict);
    }

    fn callback(&self, now: i64) -> (Vec<(String, String)>, Vec<u8>) {
        let body = json!({"type": "balancePlatform.accountHolder.updated", "environment": "test", "timestamp": now, "data": {"accountHolder": {"id": "AH1", "legalEntityId": "LE1"}}}).to_string();
        let signature = Encoding::Base64.encode(&mac(Algorithm::Sha256, &[0xab, 0xcd], &[body.as_bytes()]));
        (
            vec![("hmacsignature".into(), signature), ("authorization".into(), "Basic dTpw".into())],
            body.into_bytes(),
        )
    }

    fn clear(&mut self) {
        self.documents.clear();
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
        kind: "adyen",
        vendor: Box::new(Adyen::default()),
        lines: "base_url = \"{base}/lem/v3\"\napi_key_file = \"{secrets}/key\"\nwebhook_secret_file = \"{secrets}/hook\"\nwebhook_basic_file = \"{secrets}/basic\"".into(),
        secrets: vec![("key", "key".into()), ("hook", "ABCD".into()), ("basic", "u:p".into())],
        applicant: "LE1",
        one_side: "passport",
        two_sides: Some("government-id"),
    }
}

#[tokio::test]
async fn adyen_in_all_ways() {
    all_ways(case()).await;
}

#[tokio::test]
async fn adyen_misbehaving() {
    let ends = all_once(&[
        (Twist::LateAndDropped, End::Once),
        (Twist::StoredFailure, End::Once),
        (Twist::FailedAndGarbled, End::Once),
    ]);
    misbehaving(case(), &ends).await;
}

#[tokio::test]
async fn adyen_with_a_late_list() {
    late_list(case()).await;
}

#[tokio::test]
async fn adyen_again_under_one_key() {
    again_under_one_key(case()).await;
}
