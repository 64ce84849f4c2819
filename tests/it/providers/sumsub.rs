//! Sumsub as its documentation has it: signed multipart, duplicates by content, steps, an explicit start of the review.

use nightdrop::testing::connectors::sign::{Algorithm, Encoding, mac};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::server::{Effect, Reply, Request, Review, Twist, Vendor};
use super::{Case, End, all_once, all_ways, misbehaving};

const ID: &str = "5bb8cca10a975a624903cf65";

#[derive(Default)]
struct Sumsub {
    images: Vec<(String, Vec<u8>)>,
    kind: String,
    submitted: bool,
    review: Option<Review>,
}

impl Sumsub {
    fn status(&self) -> Value {
        if self.images.is_empty() {
            return json!({"IDENTITY": null});
        }
        let ids: Vec<usize> = (1..=self.images.len()).collect();
        let result = match self.review.filter(|_| self.submitted) {
            Some(Review::Accepted) => json!({"reviewAnswer": "GREEN"}),
            Some(Review::Rejected) => {
                json!({"reviewAnswer": "RED", "rejectLabels": ["LOW_QUALITY"], "reviewRejectType": "RETRY", "clientComment": "secret"})
            }
            _ => json!({}),
        };
        let each: Value = ids
            .iter()
            .map(|id| (id.to_string(), result.clone()))
            .collect::<serde_json::Map<_, _>>()
            .into();
        json!({"IDENTITY": {"idDocType": self.kind, "country": "USA", "imageIds": ids, "reviewResult": result, "imageReviewResults": each}})
    }

    fn signed(request: &Request) -> bool {
        let time = request.header("x-app-access-ts");
        let fresh = time
            .parse::<i64>()
            .is_ok_and(|t| (OffsetDateTime::now_utc().unix_timestamp() - t).abs() <= 60);
        let pieces: [&[u8]; 4] = [time.as_bytes(), request.method.as_bytes(), request.path.as_bytes(), &request.body];
        fresh
            && request.header("x-app-token") == "sbx:token"
            && request.header("x-app-access-sig") == Encoding::Hex.encode(&mac(Algorithm::Sha256, b"secret", &pieces))
    }

    fn upload(&mut self, request: &Request) -> Result<Reply, String> {
        let fields = request.form()?;
        let [metadata, content] = &fields[..] else {
            return Err("two parts".into());
        };
        let text = metadata.text();
        let side = match &text {
            t if t == r#"{"idDocType":"ID_CARD","country":"USA","idDocSubType":"FRONT_SIDE"}"# => "front",
            t if t == r#"{"idDocType":"ID_CARD","country":"USA","idDocSubType":"BACK_SIDE"}"# => "back",
            t if t == r#"{"idDocType":"PASSPORT","country":"USA"}"# => "front",
            other => return Err(other.clone()),
        };
        if !metadata.is_text("metadata") || content.file("content", side).is_none() || request.header("x-return-doc-warnings") != "true" {
            return Err("names".into());
        }
        if self.images.iter().any(|(_, bytes)| *bytes == content.bytes) {
            return Ok(Reply::json(
                409,
                json!({"code": 409, "errorCode": 1000, "errorName": "duplicate-document"}),
            ));
        }
        self.kind = if text.contains("PASSPORT") {
            "PASSPORT".into()
        } else {
            "ID_CARD".into()
        };
        self.images.push((side.to_owned(), content.bytes.clone()));
        Ok(Reply::json(200, json!({"idDocType": self.kind, "country": "USA"})).with("x-image-id", &self.images.len().to_string()))
    }
}

impl Vendor for Sumsub {
    fn answer(&mut self, request: &Request, _: &str) -> Result<Reply, String> {
        if !Self::signed(request) {
            return Err("signature".into());
        }
        let path = request.line().replace(ID, "ID");
        match path.as_str() {
            "GET /resources/applicants/ID/requiredIdDocsStatus" => Ok(Reply::json(200, self.status())),
            "POST /resources/applicants/ID/info/idDoc" => self.upload(request),
            "POST /resources/applicants/ID/status/pending?reason=docs%20uploaded" if !self.images.is_empty() => {
                self.submitted = true;
                Ok(Reply::json(200, json!({"ok": 1})))
            }
            other => Err(other.to_owned()),
        }
    }

    fn carries(&self, request: &Request) -> bool {
        request.method == "POST"
    }

    fn effects(&self) -> Vec<Effect> {
        // Without the start of a review nobody looks at it.
        Some(self.images.clone())
            .filter(|i| !i.is_empty() && self.submitted)
            .into_iter()
            .collect()
    }

    fn decide(&mut self, verdict: Review) {
        self.review = Some(verdict);
    }

    fn callback(&self, now: i64) -> (Vec<(String, String)>, Vec<u8>) {
        let body = json!({"applicantId": ID, "type": "applicantReviewed", "createdAtMs": now}).to_string();
        let signature = Encoding::Hex.encode(&mac(Algorithm::Sha256, b"hook", &[body.as_bytes()]));
        let headers = [
            ("x-payload-digest", signature.as_str()),
            ("x-payload-digest-alg", "HMAC_SHA256_HEX"),
        ];
        (headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(), body.into_bytes())
    }

    fn clear(&mut self) {
        self.images.clear();
        self.submitted = false;
    }

    fn has_keys(&self) -> bool {
        false
    }

    fn hide(&mut self, _: bool) {}
}

pub fn case() -> Case {
    Case {
        kind: "sumsub",
        vendor: Box::new(Sumsub::default()),
        lines: "base_url = \"{base}\"\napp_token_file = \"{secrets}/token\"\nsecret_key_file = \"{secrets}/secret\"\ncountry = \"USA\"\nwebhook_secret_file = \"{secrets}/hook\"".into(),
        secrets: vec![("token", "sbx:token".into()), ("secret", "secret".into()), ("hook", "hook".into())],
        applicant: ID,
        one_side: "passport",
        two_sides: Some("government-id"),
    }
}

#[tokio::test]
async fn sumsub_in_all_ways() {
    all_ways(case()).await;
}

#[tokio::test]
async fn sumsub_misbehaving() {
    misbehaving(case(), &all_once(&[(Twist::LateAndDropped, End::Once)])).await;
}
