//! Providers that exist as a configuration only: every shape of kind `http`.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use nightdrop::testing::connectors::sign::{Algorithm, Encoding, mac};
use serde_json::{Value, json};

use super::server::{Effect, Reply, Request, Review, Twist, Vendor};
use super::{Case, End, HARMLESS, all_once, all_ways, misbehaving};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Raw bytes put to a fixed place: class P.
    Raw,
    /// One request with all sides as base64, a key, OAuth: class K.
    Base64,
    /// Data URIs, told apart by a duplicate answer: class D. Signed requests.
    DataUri,
    /// A request for an address, then bare bytes: class N.
    Presigned,
    /// One multipart request per side, a list: class R.
    Multipart,
}

struct Web {
    shape: Shape,
    /// side → bytes of each submission, by our document id or file name
    held: BTreeMap<String, Effect>,
    order: Vec<String>,
    extra: usize,
    review: Option<Review>,
    hidden: bool,
}

impl Web {
    fn hold(&mut self, key: &str, side: &str, bytes: Vec<u8>) {
        if !self.held.contains_key(key) {
            self.order.push(key.to_owned());
        }
        let sides = self.held.entry(key.to_owned()).or_default();
        if self.shape == Shape::Raw || self.shape == Shape::Presigned {
            sides.retain(|(known, _)| known != side);
        }
        sides.push((side.to_owned(), bytes));
    }

    fn status(&self) -> Value {
        let (status, why) = match self.review {
            Some(Review::Accepted) => ("ok", ""),
            Some(Review::Rejected) => ("bad", "PQ"),
            _ => ("open", ""),
        };
        json!({"id": "r1", "who": "a1", "status": status, "why": why})
    }

    fn upload(&mut self, request: &Request, base: &str) -> Result<Reply, String> {
        match self.shape {
            Shape::Raw => {
                let side = request.path.rsplit('/').next().ok_or("path")?.to_owned();
                if request.method != "PUT" || request.header("content-type") != "image/png" || request.header("x-api-key") != "key" {
                    return Err("raw".into());
                }
                self.hold("one", &side, request.body.clone());
            }
            Shape::Base64 => {
                if request.header("authorization") != "Bearer tok" {
                    return Err("token".into());
                }
                let body = request.json();
                for side in ["front", "back"] {
                    if let Some(text) = body["images"][side].as_str() {
                        self.hold("one", side, BASE64.decode(text.as_bytes()).map_err(|e| e.to_string())?);
                    }
                }
                self.extra += 1;
            }
            Shape::DataUri => {
                let time = request.header("x-ts");
                let pieces: [&[u8]; 4] = [time.as_bytes(), request.method.as_bytes(), request.path.as_bytes(), &request.body];
                if request.header("x-sig") != Encoding::Hex.encode(&mac(Algorithm::Sha256, b"key", &pieces)) {
                    return Err("signature".into());
                }
                if !self.held.is_empty() {
                    return Ok(Reply::json(409, self.status()));
                }
                let body = request.json();
                for side in ["front", "back"] {
                    if let Some(uri) = body[side].as_str() {
                        let text = uri.strip_prefix("data:image/png;base64,").ok_or("data URI")?;
                        self.hold("one", side, BASE64.decode(text.as_bytes()).map_err(|e| e.to_string())?);
                    }
                }
            }
            Shape::Presigned => {
                if let Some(side) = request.path.strip_prefix("/bucket/") {
                    let side = side.strip_suffix("?sig=1").ok_or("query")?;
                    if !request.header("authorization").is_empty() {
                        return Err("credentials in the bucket".into());
                    }
                    self.hold("one", side, request.body.clone());
                    return Ok(Reply::empty(200));
                }
                let side = request.json()["side"].as_str().ok_or("side")?.to_owned();
                return Ok(Reply::json(
                    201,
                    json!({"id": "r1", "upload_url": format!("{base}/bucket/{side}?sig=1")}),
                ));
            }
            Shape::Multipart => {
                let fields = request.form()?;
                let [purpose, file] = &fields[..] else {
                    return Err("two parts".into());
                };
                let side = if file.file("file", "front").is_some() { "front" } else { "back" };
                let name = file.file("file", side).ok_or("file")?;
                if !purpose.is_text("purpose") || purpose.text() != "ID" {
                    return Err("purpose".into());
                }
                self.hold("one", side, file.bytes.clone());
                self.order.push(name);
            }
        }
        Ok(Reply::json(200, self.status()))
    }
}

impl Vendor for Web {
    fn answer(&mut self, request: &Request, base: &str) -> Result<Reply, String> {
        match request.line().as_str() {
            "POST /token" => {
                let good = request.text() == "client_id=cid&client_secret=secret&grant_type=client_credentials";
                if good {
                    Ok(Reply::json(200, json!({"access_token": "tok", "expires_in": 600})))
                } else {
                    Err("token".into())
                }
            }
            "GET /docs/a1" => {
                let shown = if self.hidden { &[][..] } else { &self.order[..] };
                let list: Vec<Value> = shown.iter().map(|name| json!({"name": name, "id": "r1"})).collect();
                Ok(Reply::json(200, json!({"data": list})))
            }
            // Asked before anybody believes that bytes at an address have arrived.
            _ if request.method == "GET" && request.path.starts_with("/slots/r1/") => {
                let side = request.path.rsplit('/').next().unwrap_or_default();
                let size = self
                    .held
                    .values()
                    .flatten()
                    .find(|(held, _)| held == side)
                    .map(|(_, bytes)| bytes.len());
                Ok(Reply::json(200, json!({"id": "r1", "size": size})))
            }
            "GET /state/a1" => Ok(Reply::json(200, self.status())),
            _ if request.method == "GET" => Err(request.line()),
            _ => self.upload(request, base),
        }
    }

    fn carries(&self, request: &Request) -> bool {
        request.method != "GET" && request.path != "/token"
    }

    fn effects(&self) -> Vec<Effect> {
        let times = self.extra.max(1);
        self.held
            .values()
            .flat_map(|effect| std::iter::repeat_n(effect.clone(), times))
            .collect()
    }

    fn decide(&mut self, verdict: Review) {
        self.review = Some(verdict);
    }

    fn callback(&self, now: i64) -> (Vec<(String, String)>, Vec<u8>) {
        let body = json!({"applicant": "a1", "at": now}).to_string();
        let signature = Encoding::Hex.encode(&mac(Algorithm::Sha512, b"hook", &[body.as_bytes()]));
        (vec![("x-hook-signature".into(), signature)], body.into_bytes())
    }

    fn clear(&mut self) {
        self.held.clear();
        self.order.clear();
        self.extra = 0;
    }

    fn has_keys(&self) -> bool {
        self.shape == Shape::Base64
    }

    fn hide(&mut self, hidden: bool) {
        self.hidden = hidden;
    }
}

pub fn case(shape: Shape) -> Case {
    let named = if shape == Shape::Presigned {
        ""
    } else {
        "\nanswer_names = { \"/who\" = \"{applicant}\" }"
    };
    let auth = match shape {
        Shape::Raw => "auth = \"header\"\nauth_header = \"X-Api-Key\"\napi_key_file = \"{secrets}/key\"",
        Shape::Base64 => {
            "auth = \"oauth\"\nclient_id = \"cid\"\nclient_secret_file = \"{secrets}/secret\"\ntoken_url = \"{base}/token\"\ntoken_auth = \"form\"\nidempotency_header = \"Idempotency-Key\""
        }
        Shape::DataUri => "auth = \"none\"",
        Shape::Presigned | Shape::Multipart => "api_key_file = \"{secrets}/key\"",
    };
    let upload = match shape {
        Shape::Raw => "method = \"PUT\"\npath = \"/put/{applicant}/{kind}/{part}\"\nshape = \"raw\"\nfixed_id = true\nreference = \"/id\"",
        Shape::Base64 => "path = \"/all\"\nshape = \"base64\"\nfile_field = \"/images/{part}\"\nreference = \"/id\"",
        Shape::DataUri => "path = \"/all?for={applicant}\"\nshape = \"data-uri\"\nreference = \"/id\"\nduplicate_statuses = [409]",
        Shape::Presigned => {
            "path = \"/slots\"\nshape = \"presigned\"\nfields = { side = \"{part}\" }\nreference = \"/id\"\naddress = \"/upload_url\"\naddress_hosts = [\"{host}\"]"
        }
        Shape::Multipart => {
            "path = \"/docs/{applicant}\"\nper_part = true\nfile_field = \"file\"\nfields = { purpose = \"ID\" }\nreference = \"/id\""
        }
    };
    let signing = if shape == Shape::DataUri {
        "[{name}.signing]\nheader = \"X-Sig\"\nsecret_file = \"{secrets}/key\"\nsigns = \"timestamp+method+path+body\"\ntimestamp_header = \"X-Ts\"\n"
    } else {
        ""
    };
    let lookup = if shape == Shape::Presigned {
        "[{name}.lookup]\npath = \"/slots/{reference}/{part}\"\nnames = { \"/id\" = \"{reference}\", \"/size\" = \"{size}\" }\n"
    } else {
        ""
    };
    let list = if shape == Shape::Multipart {
        "[{name}.list]\npath = \"/docs/{applicant}\"\nitems = \"/data\"\nfile_name = \"/name\"\nreference = \"/id\"\n"
    } else {
        ""
    };
    Case {
        kind: "http",
        vendor: Box::new(Web {
            shape,
            held: BTreeMap::new(),
            order: Vec::new(),
            extra: 0,
            review: None,
            hidden: false,
        }),
        lines: format!(
            "base_url = \"{{base}}\"\nreasons = {{ PQ = \"unreadable\" }}\nwebhook_secret_file = \"{{secrets}}/hook\"\n{auth}\n[{{name}}.upload]\n{upload}{named}\n{signing}{lookup}{list}\
             [{{name}}.verdict]\npath = \"/state/{{applicant}}\"\nstatus = \"/status\"\naccepted = [\"ok\"]\nrejected = [\"bad\"]\nreason = \"/why\"\n\
             [{{name}}.callback]\nheader = \"X-Hook-Signature\"\nalgorithm = \"sha512\"\napplicant = \"/applicant\"\n"
        ),
        secrets: vec![("key", "key".into()), ("secret", "secret".into()), ("hook", "hook".into())],
        applicant: "a1",
        one_side: "passport",
        two_sides: Some("government-id"),
    }
}

#[tokio::test]
async fn raw_puts() {
    all_ways(case(Shape::Raw)).await;
    misbehaving(
        case(Shape::Raw),
        &[(Twist::CommitThenDrop, End::Once), (Twist::CommitThenError, End::Once)],
    )
    .await;
}

#[tokio::test]
async fn base64_with_a_key_and_oauth() {
    all_ways(case(Shape::Base64)).await;
    misbehaving(
        case(Shape::Base64),
        &[
            (Twist::CommitThenDrop, End::Once),
            (Twist::CommitThenEndless, End::Once),
            (Twist::Revoked, End::Once),
        ],
    )
    .await;
}

#[tokio::test]
async fn signed_data_uris_with_a_duplicate_answer() {
    all_ways(case(Shape::DataUri)).await;
    misbehaving(
        case(Shape::DataUri),
        &[(Twist::CommitThenDrop, End::Once), (Twist::CommitThenError, End::Once)],
    )
    .await;
}

#[tokio::test]
async fn presigned_addresses() {
    all_ways(case(Shape::Presigned)).await;
    misbehaving(case(Shape::Presigned), &HARMLESS).await;
    misbehaving(
        case(Shape::Presigned),
        &[
            (Twist::CommitThenDrop, End::Person),
            (Twist::DropBefore, End::Person),
            (Twist::LostAndGarbled, End::Person),
        ],
    )
    .await;
}

#[tokio::test]
async fn multipart_with_a_list() {
    all_ways(case(Shape::Multipart)).await;
    misbehaving(case(Shape::Multipart), &all_once(&[(Twist::LateAndDropped, End::Once)])).await;
}
