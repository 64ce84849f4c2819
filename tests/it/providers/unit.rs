//! Unit as its documentation has it: a list of wanted documents, and bytes put to one of them.

use nightdrop::testing::connectors::sign::{Algorithm, Encoding, mac};
use serde_json::{Value, json};

use super::server::{Effect, Reply, Request, Review, Twist, Vendor};
use super::{Case, End, all_once, all_ways, misbehaving};

#[derive(Default)]
struct Unit {
    front: Option<Vec<u8>>,
    back: Option<Vec<u8>>,
    review: Option<Review>,
    two_sided: bool,
    hidden: Option<Value>,
}

impl Unit {
    fn status(&self) -> &'static str {
        match (&self.front, &self.back, self.review) {
            (None, None, _) => "Required",
            (Some(_), None, _) if self.two_sided => "ReceivedFront",
            (None, Some(_), _) => "ReceivedBack",
            (_, _, Some(Review::Accepted)) => "Approved",
            (_, _, Some(Review::Rejected)) => "Invalid",
            _ => "PendingReview",
        }
    }

    fn document(&self) -> Value {
        json!({"type": "document", "id": "3", "attributes": {"documentType": if self.two_sided { "IdDocument" } else { "AddressVerification" },
            "status": self.status(), "reasonCode": "PoorQuality", "ssn": "000-00-0000", "archived": false}})
    }
}

impl Vendor for Unit {
    fn answer(&mut self, request: &Request, _: &str) -> Result<Reply, String> {
        if request.header("authorization") != "Bearer tok" || request.header("accept") != "application/vnd.api+json" {
            return Err("headers".into());
        }
        match request.line().as_str() {
            "GET /applications/46/documents" => {
                let document = self.hidden.clone().unwrap_or_else(|| self.document());
                let other = json!({"type": "document", "id": "9", "attributes": {"documentType": "Passport", "status": "Approved"}});
                return Ok(Reply::json(200, json!({"data": [other, document]})));
            }
            "PUT /applications/46/documents/3" => self.front = Some(request.body.clone()),
            "PUT /applications/46/documents/3/back" if self.two_sided => self.back = Some(request.body.clone()),
            _ => return Err("no such call".into()),
        }
        if request.header("content-type") != "image/png" {
            return Err("content-type".into());
        }
        Ok(Reply::json(200, json!({"data": self.document()})))
    }

    fn carries(&self, request: &Request) -> bool {
        request.method == "PUT"
    }

    fn effects(&self) -> Vec<Effect> {
        let sides = [("front", &self.front), ("back", &self.back)];
        let held: Effect = sides.into_iter().filter_map(|(s, b)| Some((s.to_owned(), b.clone()?))).collect();
        Some(held).filter(|h| !h.is_empty()).into_iter().collect()
    }

    fn decide(&mut self, verdict: Review) {
        self.review = Some(verdict);
    }

    fn callback(&self, now: i64) -> (Vec<(String, String)>, Vec<u8>) {
        let body = json!({"data": [{"type": "customer.created"}, {"id": now, "type": "document.approved", "relationships": {
            "document": {"data": {"id": "3", "type": "document"}}, "application": {"data": {"id": "46"}}}}]})
        .to_string();
        let signature = Encoding::Base64.encode(&mac(Algorithm::Sha1, b"hook===", &[body.as_bytes()]));
        (vec![("x-unit-signature".into(), signature)], body.into_bytes())
    }

    fn clear(&mut self) {
        // The kind alternates by what is asked for: it is set by the test's document through `decide`-free state.
        (self.front, self.back) = (None, None);
    }

    fn has_keys(&self) -> bool {
        false
    }

    fn hide(&mut self, hidden: bool) {
        self.hidden = hidden.then(|| {
            let before = Self {
                two_sided: self.two_sided,
                ..Self::default()
            };
            before.document()
        });
    }
}

pub fn case(two_sided: bool) -> Case {
    Case {
        kind: "unit",
        vendor: Box::new(Unit {
            two_sided,
            ..Unit::default()
        }),
        lines: "base_url = \"{base}\"\napi_key_file = \"{secrets}/key\"\nwebhook_secret_file = \"{secrets}/hook\"".into(),
        secrets: vec![("key", "tok".into()), ("hook", "hook===".into())],
        applicant: "46",
        one_side: if two_sided { "" } else { "proof-of-address" },
        two_sides: two_sided.then_some("government-id"),
    }
}

#[tokio::test]
async fn unit_in_all_ways() {
    all_ways(case(false)).await;
    all_ways(case(true)).await;
}

#[tokio::test]
async fn unit_misbehaving() {
    misbehaving(case(true), &all_once(&[(Twist::LateAndDropped, End::Once)])).await;
}
