//! Onfido as its specification has it: one file per side, a list by applicant, checks. No idempotency, so what is sent twice is there twice.

use nightdrop::testing::connectors::sign::{Algorithm, Encoding, mac};
use serde_json::{Value, json};

use super::server::{Effect, Reply, Request, Review, Twist, Vendor};
use super::{Case, End, all_once, all_ways, late_list, misbehaving};

const ID: &str = "f2302f45-227d-413d-ad61-09ec077a086a";

#[derive(Default)]
struct Onfido {
    /// (file name, side, bytes)
    documents: Vec<(String, String, Vec<u8>)>,
    checks: Vec<Value>,
    review: Option<Review>,
    hidden: bool,
    oauth: bool,
}

impl Onfido {
    fn upload(&mut self, request: &Request) -> Result<Reply, String> {
        let fields = request.form()?;
        let texts: Vec<String> = fields.iter().take(fields.len() - 1).map(|f| f.text()).collect();
        let file = fields.last().ok_or("no file")?;
        let side = match texts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [ID, "passport", "USA"] => "front",
            [ID, "national_identity_card", "front", "USA"] => "front",
            [ID, "national_identity_card", "back", "USA"] => "back",
            _ => return Err(format!("{texts:?}")),
        };
        let names: &[&str] = if texts.len() == 4 {
            &["applicant_id", "type", "side", "issuing_country"]
        } else {
            &["applicant_id", "type", "issuing_country"]
        };
        if !fields.iter().zip(names).all(|(field, name)| field.is_text(name)) {
            return Err("names".into());
        }
        let name = file.file("file", side).ok_or("file name")?;
        self.documents.push((name.clone(), side.to_owned(), file.bytes.clone()));
        Ok(Reply::json(
            201,
            json!({"id": format!("d-{}", self.documents.len() - 1), "file_name": name, "applicant_id": ID}),
        ))
    }

    fn check(&self) -> Value {
        let mut check = json!({"id": "check-1", "status": "in_progress", "applicant_id": ID});
        if let Some(review @ (Review::Accepted | Review::Rejected)) = self.review {
            check["status"] = json!("complete");
            check["result"] = json!(if review == Review::Accepted { "clear" } else { "consider" });
        }
        check
    }
}

impl Vendor for Onfido {
    fn answer(&mut self, request: &Request, _: &str) -> Result<Reply, String> {
        if request.line() == "POST /v3.6/oauth/token" && self.oauth {
            let good = request.text() == "client_id=cid&client_secret=csecret";
            return if good {
                Ok(Reply::json(200, json!({"access_token": "tok", "expires_in": 3600})))
            } else {
                Err("token".into())
            };
        }
        let wanted = if self.oauth { "Bearer tok" } else { "Token token=api_sandbox.x" };
        if request.header("authorization") != wanted {
            return Err("authorization".into());
        }
        let path = request.line().replace(ID, "ID");
        match path.as_str() {
            "GET /v3.6/documents?applicant_id=ID" => {
                let shown = if self.hidden {
                    self.documents.len().saturating_sub(1)
                } else {
                    self.documents.len()
                };
                let list = self.documents.iter().take(shown).enumerate();
                let list: Vec<Value> = list
                    .map(|(n, (name, side, _))| json!({"id": format!("d-{n}"), "file_name": name, "side": side}))
                    .collect();
                Ok(Reply::json(200, json!({"documents": list})))
            }
            "POST /v3.6/documents" => self.upload(request),
            "GET /v3.6/checks?applicant_id=ID" => Ok(Reply::json(200, json!({"checks": self.checks}))),
            "POST /v3.6/checks" => {
                let body = request.json();
                let ids: Vec<String> = (0..self.documents.len()).map(|n| format!("d-{n}")).collect();
                if body["document_ids"] != json!(ids) || body["report_names"] != json!(["document"]) || body["applicant_id"] != json!(ID) {
                    return Err(format!("check {body}"));
                }
                let mut check = self.check();
                check["tags"] = body["tags"].clone();
                self.checks.push(check.clone());
                Ok(Reply::json(201, check))
            }
            "GET /v3.6/checks/check-1" => Ok(Reply::json(200, self.check())),
            "GET /v3.6/reports?check_id=check-1" => Ok(Reply::json(
                200,
                json!({"reports": [{"name": "document", "result": "consider", "breakdown": {"image_integrity": {"result": "consider", "breakdown": {"image_quality": {"result": "unidentified"}}}}}]}),
            )),
            other => Err(other.to_owned()),
        }
    }

    fn carries(&self, request: &Request) -> bool {
        request.line() == "POST /v3.6/documents"
    }

    fn effects(&self) -> Vec<Effect> {
        let all: Effect = self
            .documents
            .iter()
            .map(|(_, side, bytes)| (side.clone(), bytes.clone()))
            .collect();
        let checked = self.checks.len();
        std::iter::repeat_n(all, if self.documents.is_empty() { 0 } else { checked.max(1) }).collect()
    }

    fn decide(&mut self, verdict: Review) {
        self.review = Some(verdict);
    }

    fn callback(&self, now: i64) -> (Vec<(String, String)>, Vec<u8>) {
        let body = json!({"payload": {"resource_type": "check", "action": "check.completed", "object": {"id": "check-1", "status": "complete", "completed_at_iso8601": now}}}).to_string();
        let signature = Encoding::Hex.encode(&mac(Algorithm::Sha256, b"hook", &[body.as_bytes()]));
        (vec![("x-sha2-signature".into(), signature)], body.into_bytes())
    }

    fn clear(&mut self) {
        self.documents.clear();
        self.checks.clear();
    }

    fn has_keys(&self) -> bool {
        false
    }

    fn hide(&mut self, hidden: bool) {
        self.hidden = hidden;
    }
}

pub fn case(oauth: bool) -> Case {
    let auth = if oauth {
        "client_id = \"cid\"\nclient_secret_file = \"{secrets}/csecret\""
    } else {
        "api_token_file = \"{secrets}/token\""
    };
    Case {
        kind: "onfido",
        vendor: Box::new(Onfido {
            oauth,
            ..Onfido::default()
        }),
        lines: format!(
            "base_url = \"{{base}}/v3.6\"\n{auth}\ncountry = \"USA\"\nreports = [\"document\"]\nwebhook_secret_file = \"{{secrets}}/hook\""
        ),
        secrets: vec![
            ("token", "api_sandbox.x".into()),
            ("csecret", "csecret".into()),
            ("hook", "hook".into()),
        ],
        applicant: ID,
        one_side: "passport",
        two_sides: Some("government-id"),
    }
}

#[tokio::test]
async fn onfido_in_all_ways() {
    all_ways(case(false)).await;
}

#[tokio::test]
async fn onfido_misbehaving() {
    misbehaving(case(true), &all_once(&[(Twist::LateAndDropped, End::Once)])).await;
}

#[tokio::test]
async fn onfido_with_a_late_list() {
    late_list(case(true)).await;
}
