//! Stripe as its documentation has it: files under a key, then one form that attaches them to a person.

use nightdrop::testing::connectors::sign::{Algorithm, Encoding, mac};
use serde_json::{Value, json};

use super::server::{Effect, Reply, Request, Review, Twist, Vendor};
use super::{Case, End, all_once, all_ways, misbehaving};

#[derive(Default)]
struct Stripe {
    files: Vec<Vec<u8>>,
    /// (slot, side, file)
    attached: Vec<(String, String, usize)>,
    attachments: usize,
    review: Option<Review>,
    hidden: bool,
}

impl Stripe {
    fn person(&self) -> Value {
        let mut slots = json!({"document": {"front": null, "back": null, "details_code": null}, "additional_document": {"front": null, "details_code": null}, "status": "unverified"});
        for (slot, side, file) in self.attached.iter().filter(|_| !self.hidden) {
            slots[slot][side] = json!(format!("file_{file}"));
            if self.review == Some(Review::Rejected) {
                slots[slot]["details_code"] = json!("document_not_readable");
            }
        }
        let open = if self.review == Some(Review::Accepted) {
            json!([])
        } else {
            json!(["person_1.verification.document", "person_1.verification.additional_document"])
        };
        if self.review == Some(Review::Accepted) {
            slots["status"] = json!("verified");
        }
        json!({"id": "person_1", "object": "person", "requirements": {"currently_due": [], "pending_verification": open, "errors": []}, "verification": slots})
    }
}

impl Vendor for Stripe {
    fn answer(&mut self, request: &Request, _: &str) -> Result<Reply, String> {
        if request.header("authorization") != "Bearer sk_test" || request.header("stripe-version").is_empty() {
            return Err("headers".into());
        }
        match request.line().as_str() {
            "POST /v1/files" => {
                let fields = request.form()?;
                let [purpose, file] = &fields[..] else {
                    return Err("two parts".into());
                };
                let named = file.file("file", "front").or(file.file("file", "back"));
                if !purpose.is_text("purpose")
                    || purpose.text() != "identity_document"
                    || named.is_none()
                    || request.header("stripe-account") != "acct_1"
                {
                    return Err("names".into());
                }
                self.files.push(file.bytes.clone());
                Ok(Reply::json(
                    200,
                    json!({"id": format!("file_{}", self.files.len() - 1), "object": "file", "purpose": "identity_document"}),
                ))
            }
            "POST /v1/accounts/acct_1/persons/person_1" => {
                self.attached.clear();
                for pair in request.text().split('&') {
                    let (name, value) = pair.split_once('=').ok_or("pair")?;
                    let inner = name
                        .strip_prefix("verification[")
                        .and_then(|n| n.strip_suffix(']'))
                        .ok_or("field")?;
                    let (slot, side) = inner.split_once("][").ok_or("field")?;
                    let file: usize = value.strip_prefix("file_").and_then(|n| n.parse().ok()).ok_or("file")?;
                    self.attached.push((slot.into(), side.into(), file));
                }
                self.attachments += 1;
                Ok(Reply::json(200, self.person()))
            }
            "GET /v1/accounts/acct_1/persons/person_1" => Ok(Reply::json(200, self.person())),
            other => Err(other.to_owned()),
        }
    }

    fn carries(&self, request: &Request) -> bool {
        request.method == "POST"
    }

    fn effects(&self) -> Vec<Effect> {
        // A file that is not attached has no effect; attaching twice has one more.
        let one: Effect = self
            .attached
            .iter()
            .map(|(_, side, file)| (side.clone(), self.files[*file].clone()))
            .collect();
        std::iter::repeat_n(one, self.attachments).collect()
    }

    fn decide(&mut self, verdict: Review) {
        self.review = Some(verdict);
    }

    fn callback(&self, now: i64) -> (Vec<(String, String)>, Vec<u8>) {
        let body = json!({"id": "evt_1", "type": "person.updated", "account": "acct_1", "created": now, "data": {"object": {"id": "person_1", "account": "acct_1"}}}).to_string();
        let signature = mac(
            Algorithm::Sha256,
            b"whsec_test",
            &[now.to_string().as_bytes(), b".", body.as_bytes()],
        );
        (
            vec![(
                "stripe-signature".into(),
                format!("t={now},v1={}", Encoding::Hex.encode(&signature)),
            )],
            body.into_bytes(),
        )
    }

    fn clear(&mut self) {
        *self = Self {
            review: self.review,
            ..Self::default()
        };
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
        kind: "stripe",
        vendor: Box::new(Stripe::default()),
        lines: "base_url = \"{base}\"\napi_key_file = \"{secrets}/key\"\nwebhook_secret_file = \"{secrets}/hook\"".into(),
        secrets: vec![("key", "sk_test".into()), ("hook", "whsec_test".into())],
        applicant: "acct_1,person_1",
        one_side: "proof-of-address",
        two_sides: Some("government-id"),
    }
}

#[tokio::test]
async fn stripe_in_all_ways() {
    all_ways(case()).await;
}

#[tokio::test]
async fn stripe_misbehaving() {
    let ends = all_once(&[
        (Twist::LateAndDropped, End::Once),
        (Twist::StoredFailure, End::Once),
        (Twist::FailedAndGarbled, End::Once),
    ]);
    misbehaving(case(), &ends).await;
}
