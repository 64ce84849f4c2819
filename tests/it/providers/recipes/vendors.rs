//! The vendors of the recipes, as their clients and descriptions have them: which requests they take, and what they answer.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use nightdrop::testing::connectors::sign::{Algorithm, Encoding, mac, sign_standard, standard_key};
use serde_json::{Value, json};

use crate::providers::server::{Effect, Reply, Request, Review, Vendor};

pub const WEBHOOK: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

pub fn applicant(name: &str) -> &'static str {
    match name {
        "increase" => "entity_n8y8tnk2p9339ti393yi",
        "moov" => "3dfff852-927d-47e8-822c-2fffc57ff6b9",
        "checkout" => "ent_w4jelhppmfiufdnatam37wrfc4,req_5wmacwhrhbzhqkhx5hlqmzje44",
        "modern-treasury" => "02938e9c-9e6f-4a4f-8e24-4b0f1d4b1c2f",
        "column" => "enti_2dk2oXqPcB5Xb5wFpnrg50F7BeD",
        _ => "0d18ae51-3c94-4511-b209-101e1666416b",
    }
}

/// What answers instead of the vendor.
#[derive(Clone)]
pub enum Said {
    Reply(Reply),
    /// What the vendor would say, half of it.
    CutOff,
    /// What the vendor would say, as HTML.
    AsPage,
    /// What the vendor would say to somebody else who sent another document.
    Another,
}

/// Something between the portal and the vendor that answers one request, or all of them.
#[derive(Clone)]
pub struct Between {
    pub at: Option<usize>,
    pub said: Said,
}

/// A file as it was uploaded.
#[derive(Clone, Default)]
struct File {
    id: String,
    side: String,
    name: String,
    key: String,
    kind: String,
    bytes: Option<Vec<u8>>,
    attached: Option<String>,
}

pub struct Scripted {
    name: &'static str,
    files: Vec<File>,
    review: Review,
    hidden: bool,
    count: usize,
    /// Requirements that were answered, by the file that they were answered with.
    answered: BTreeMap<String, String>,
    between: Option<Between>,
}

fn want(what: bool, complaint: &str) -> Result<(), String> {
    if what { Ok(()) } else { Err(complaint.to_owned()) }
}

fn basic(user: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:key").as_bytes()))
}

/// A request's path and the values of its query.
fn split(path: &str) -> (String, BTreeMap<String, String>) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    (path.replace("%2C", ","), pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
}

/// The one file of a form whose other fields must be these, and its side and name.
fn form(request: &Request, expected: &[(&str, &str)]) -> Result<(String, String, Vec<u8>), String> {
    let fields = request.form()?;
    let (file, texts) = fields.split_last().ok_or("no parts")?;
    let side = if file.file("file", "front").is_some() { "front" } else { "back" };
    let name = file.file("file", side).ok_or("no file under the name \"file\"")?;
    want(texts.len() == expected.len(), "another number of fields")?;
    for (name, value) in expected {
        let value = value.replace("{name}", &file.file("file", side).unwrap_or_default());
        want(
            texts.iter().any(|f| f.is_text(name) && f.text() == value),
            &format!("{name} is not {value}"),
        )?;
    }
    Ok((side.to_owned(), name, file.bytes.clone()))
}

impl Scripted {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            files: Vec::new(),
            review: Review::Open,
            hidden: false,
            count: 0,
            answered: BTreeMap::new(),
            between: None,
        }
    }

    pub fn with(self, between: Option<Between>) -> Self {
        Self { between, ..self }
    }

    fn who(&self) -> &'static str {
        applicant(self.name)
    }

    fn word(&self, open: &'static str, accepted: &'static str, rejected: &'static str) -> &'static str {
        match self.review {
            Review::Open => open,
            Review::Accepted => accepted,
            Review::Rejected => rejected,
        }
    }

    fn shown(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|_| !self.hidden)
    }

    fn add(&mut self, file: File) -> File {
        let id = format!("{}{}", if self.name == "column" { "docu_" } else { "file_" }, self.files.len() + 1);
        self.files.push(File { id, ..file });
        self.files.last().cloned().unwrap_or_default()
    }

    fn increase(&mut self, request: &Request) -> Result<Reply, String> {
        want(request.header("authorization") == "Bearer key", "credentials")?;
        let file = |f: &File| {
            json!({"id": f.id, "created_at": "2026-11-27T00:00:00Z", "description": null, "direction": "to_increase", "filename": f.name,
                   "idempotency_key": f.key, "mime_type": "image/png", "purpose": "entity_supplemental_document", "type": "file"})
        };
        let who = self.who();
        let document = |f: &File| {
            json!({"created_at": "2026-11-27T00:00:00Z", "entity_id": who, "file_id": f.id, "idempotency_key": f.attached,
                   "type": "entity_supplemental_document"})
        };
        let (path, query) = split(&request.path);
        let asked = query.get("idempotency_key");
        match (request.method.as_str(), path.as_str()) {
            ("POST", "/files") => {
                let (side, name, bytes) = form(request, &[("purpose", "entity_supplemental_document")])?;
                let key = request.header("idempotency-key").to_owned();
                let added = self.add(File {
                    side,
                    name,
                    key,
                    bytes: Some(bytes),
                    ..File::default()
                });
                Ok(Reply::json(200, file(&added)))
            }
            ("POST", "/entity_supplemental_documents") => {
                let body = request.json();
                want(request.header("content-type") == "application/json", "type")?;
                want(body.as_object().is_some_and(|o| o.len() == 2) && body["entity_id"] == who, "body")?;
                let Some(at) = self.files.iter().position(|f| body["file_id"] == f.id.as_str()) else {
                    return Ok(Reply::json(404, json!({"type": "object_not_found_error", "status": 404})));
                };
                // The same file twice would be two documents.
                want(self.files[at].attached.is_none(), "attached twice")?;
                self.files[at].attached = Some(request.header("idempotency-key").to_owned());
                Ok(Reply::json(200, document(&self.files[at])))
            }
            ("GET", "/files") => {
                let found: Vec<Value> = self.shown().filter(|f| Some(&f.key) == asked).map(file).collect();
                Ok(Reply::json(200, json!({"data": found, "next_cursor": null})))
            }
            ("GET", "/entity_supplemental_documents") => {
                want(query.get("entity_id").is_some_and(|id| id == who), "entity_id")?;
                let found: Vec<Value> = self
                    .shown()
                    .filter(|f| f.attached.as_ref() == asked && asked.is_some())
                    .map(document)
                    .collect();
                Ok(Reply::json(200, json!({"data": found, "next_cursor": null})))
            }
            ("GET", path) if path == format!("/entities/{who}") => {
                let status = self.word("pending", "valid", "invalid");
                Ok(Reply::json(
                    200,
                    json!({"id": who, "status": "active", "validation": {"status": status, "issues": []}}),
                ))
            }
            _ => Err("no such call".into()),
        }
    }

    fn moov(&mut self, request: &Request) -> Result<Reply, String> {
        want(request.header("authorization") == "Bearer key", "credentials")?;
        want(request.header("x-moov-version") == "v2026.07.00", "version")?;
        let (who, status) = (self.who(), self.word("pending", "approved", "rejected"));
        let file = |f: &File| {
            json!({"fileID": f.id, "fileName": f.name, "accountID": who, "filePurpose": "individual_verification", "fileStatus": status, "metadata": "",
                   "decisionReason": "document-illegible", "fileSizeBytes": f.bytes.as_ref().map(Vec::len), "createdOn": "2026-11-27T00:00:00Z",
                   "updatedOn": "2026-11-27T00:00:00Z"})
        };
        let files = format!("/accounts/{who}/files");
        match request.method.as_str() {
            "POST" if request.path == files => {
                let (side, name, bytes) = form(request, &[("filePurpose", "individual_verification")])?;
                let added = self.add(File {
                    side,
                    name,
                    bytes: Some(bytes),
                    ..File::default()
                });
                Ok(Reply::json(200, file(&added)))
            }
            "GET" if request.path == files => Ok(Reply::json(200, self.shown().map(file).collect())),
            "GET" => {
                let id = request.path.strip_prefix(&format!("{files}/")).ok_or("no such call")?;
                let found = self.files.iter().find(|f| f.id == id).map(file);
                Ok(found.map_or(Reply::empty(404), |file| Reply::json(200, file)))
            }
            _ => Err("no such call".into()),
        }
    }

    fn checkout(&mut self, request: &Request, base: &str) -> Result<Reply, String> {
        let (entity, requirement) = self.who().split_once(',').ok_or("applicant")?;
        if let Some(id) = request.path.strip_prefix("/mp-files/").and_then(|rest| rest.split('?').next()) {
            want(request.method == "PUT" && request.header("content-type") == "image/png", "bytes")?;
            want(request.header("authorization").is_empty(), "credentials at the upload link")?;
            let Some(file) = self.files.iter_mut().find(|f| f.id == id) else {
                return Ok(Reply::empty(403));
            };
            file.bytes = Some(request.body.clone());
            return Ok(Reply::empty(200));
        }
        want(request.header("authorization") == "Bearer key", "credentials")?;
        want(request.header("accept") == "application/json;schema_version=3.0", "accept")?;
        let files = format!("/entities/{entity}/files");
        match request.method.as_str() {
            "POST" if request.path == files => {
                want(request.json() == json!({"purpose": "identity_verification"}), "body")?;
                let added = self.add(File {
                    side: "front".into(),
                    ..File::default()
                });
                let upload = format!("{base}/mp-files/{}?Expires=1661355993&x-amz-security-token=token", added.id);
                Ok(Reply::json(
                    200,
                    json!({"id": added.id, "maximum_size_in_bytes": 4_194_304, "document_types_for_purpose": ["image/jpeg", "image/png"],
                           "_links": {"upload": {"href": upload}, "self": {"href": format!("{base}/files/{}", added.id)}}}),
                ))
            }
            "GET" => {
                let id = request.path.strip_prefix(&format!("{files}/")).ok_or("no such call")?;
                let found = self.files.iter().find(|f| f.id == id);
                Ok(found.map_or(Reply::empty(404), |f| {
                    let size = f.bytes.as_ref().map(Vec::len);
                    Reply::json(
                        200,
                        json!({"id": f.id, "status": "valid", "size": size, "mime_type": "image/png", "purpose": "identity_verification"}),
                    )
                }))
            }
            "PUT" if request.path == format!("/accounts/entities/{entity}/requirements/{requirement}") => {
                let body = request.json();
                let file = body["value"].as_str().ok_or("value")?;
                want(body.as_object().is_some_and(|o| o.len() == 1), "body")?;
                // Once answered, it is not to be had while it is processed.
                if self.answered.contains_key(requirement) {
                    return Ok(Reply::empty(404));
                }
                let Some(known) = self.files.iter_mut().find(|f| f.id == file && f.bytes.is_some()) else {
                    return Ok(Reply::json(422, json!({"error_type": "request_invalid"})));
                };
                known.attached = Some(requirement.to_owned());
                self.answered.insert(requirement.to_owned(), file.to_owned());
                Ok(Reply::json(
                    202,
                    json!({"id": requirement, "status": "processing", "submitted_at": "2026-11-27T00:00:00Z"}),
                ))
            }
            _ => Err("no such call".into()),
        }
    }

    fn modern_treasury(&mut self, request: &Request) -> Result<Reply, String> {
        want(request.header("authorization") == basic("<organisation id>"), "credentials")?;
        let who = self.who();
        let document = |f: &File| {
            json!({"id": f.id, "object": "document", "live_mode": false, "created_at": "2026-11-27T00:00:00Z", "updated_at": "2026-11-27T00:00:00Z",
                   "discarded_at": null, "document_type": "identification", "source": "customer", "documentable_id": who,
                   "documentable_type": "legal_entity",
                   "file": {"content_type": "image/png", "filename": f.name, "size": f.bytes.as_ref().map(Vec::len)}})
        };
        let (path, query) = split(&request.path);
        match (request.method.as_str(), path.as_str()) {
            ("POST", "/api/documents") => {
                let fields = [
                    ("document_type", "identification"),
                    ("documentable_id", who),
                    ("documentable_type", "legal_entity"),
                ];
                let (side, name, bytes) = form(request, &fields)?;
                let added = self.add(File {
                    side,
                    name,
                    bytes: Some(bytes),
                    ..File::default()
                });
                Ok(Reply::json(201, document(&added)))
            }
            ("GET", "/api/documents") => {
                let asked = (
                    query.get("documentable_id").map(String::as_str),
                    query.get("documentable_type").map(String::as_str),
                );
                want(asked == (Some(who), Some("legal_entity")), "query")?;
                Ok(Reply::json(200, self.shown().map(document).collect()))
            }
            ("GET", path) if path == format!("/api/legal_entities/{who}") => {
                let status = self.word("pending", "active", "denied");
                Ok(Reply::json(200, json!({"id": who, "object": "legal_entity", "status": status})))
            }
            _ => Err("no such call".into()),
        }
    }

    fn column(&mut self, request: &Request) -> Result<Reply, String> {
        want(request.header("authorization") == basic(""), "credentials")?;
        let who = self.who();
        want(request.line() == format!("POST /entities/{who}/evidence"), "no such call")?;
        let fields = |kind| {
            [
                ("evidence_type", "file"),
                ("purposes", "identity_verification"),
                ("document_type", kind),
                ("description", "{name}"),
            ]
        };
        let sent = form(request, &fields("identity_passport")).or_else(|_| form(request, &fields("identity_license")))?;
        let (side, name, bytes) = sent;
        let added = self.add(File {
            side,
            name,
            bytes: Some(bytes),
            ..File::default()
        });
        let evidence =
            json!({"id": added.id.replace("docu_", "evid_"), "entity_id": who, "description": added.name, "evidence_type": "file"});
        Ok(Reply::json(200, json!({"evidence": [evidence]})))
    }

    fn alpaca(&mut self, request: &Request) -> Result<Reply, String> {
        want(request.header("authorization") == basic("<API key id>"), "credentials")?;
        let account = format!("/v1/accounts/{}", self.who());
        if request.line() == format!("GET {account}") {
            let documents: Vec<Value> = self
                .shown()
                .map(|f| json!({"id": f.id, "document_type": "identity_verification", "document_sub_type": f.kind, "mime_type": "image/png"}))
                .collect();
            let status = self.word("ACTION_REQUIRED", "APPROVED", "REJECTED");
            return Ok(Reply::json(
                200,
                json!({"id": self.who(), "status": status, "documents": documents}),
            ));
        }
        want(request.line() == format!("POST {account}/documents/upload"), "no such call")?;
        let body = request.json();
        for item in body.as_array().ok_or("no list")? {
            let text = |key: &str| item[key].as_str().ok_or(format!("no {key}"));
            want(item.as_object().is_some_and(|o| o.len() == 4), "other fields")?;
            want(
                text("document_type")? == "identity_verification" && text("mime_type")? == "image/png",
                "type",
            )?;
            let kind = text("document_sub_type")?.to_owned();
            let side = kind.rsplit('-').next().unwrap_or_default().to_owned();
            let bytes = BASE64.decode(text("content")?.as_bytes()).map_err(|e| e.to_string())?;
            self.add(File {
                side,
                kind,
                bytes: Some(bytes),
                ..File::default()
            });
        }
        Ok(Reply::empty(202))
    }

    fn own_answer(&mut self, request: &Request, base: &str) -> Result<Reply, String> {
        match self.name {
            "increase" => self.increase(request),
            "moov" => self.moov(request),
            "checkout" => self.checkout(request, base),
            "modern-treasury" => self.modern_treasury(request),
            "column" => self.column(request),
            _ => self.alpaca(request),
        }
    }

    /// What comes instead of the vendor's answer; the vendor never saw the request.
    fn instead(&mut self, said: Said, request: &Request, base: &str) -> Result<Reply, String> {
        if let Said::Reply(reply) = said {
            return Ok(reply);
        }
        let before = (self.files.clone(), self.answered.clone());
        let mut reply = self.own_answer(request, base)?;
        (self.files, self.answered) = before;
        match said {
            Said::CutOff => reply.body.truncate(reply.body.len() / 2),
            Said::AsPage => reply.headers = vec![("content-type".into(), "text/html".into())],
            _ => {
                let mut text = String::from_utf8_lossy(&reply.body).into_owned();
                let ours = nightdrop::testing::domain::id::DocumentId([7; 16]).to_string();
                let theirs = nightdrop::testing::domain::id::DocumentId([9; 16]).to_string();
                for piece in self.who().split(',') {
                    text = text.replace(piece, "somebody-else");
                }
                text = text
                    .replace(&ours, &theirs)
                    .replace("0000000000000000000000000000", "9999999999999999999999999999");
                reply.body = text.into_bytes();
            }
        }
        Ok(reply)
    }
}

impl Vendor for Scripted {
    fn answer(&mut self, request: &Request, base: &str) -> Result<Reply, String> {
        let at = self.count;
        self.count += 1;
        match self.between.clone() {
            Some(Between { at: place, said }) if place.is_none_or(|place| place == at) => self.instead(said, request, base),
            _ => self.own_answer(request, base),
        }
    }

    fn carries(&self, request: &Request) -> bool {
        request.method != "GET"
    }

    fn effects(&self) -> Vec<Effect> {
        let counts = |f: &&File| f.attached.is_some() || !["increase", "checkout"].contains(&self.name);
        let held: Effect = self
            .files
            .iter()
            .filter(counts)
            .filter_map(|f| Some((f.side.clone(), f.bytes.clone()?)))
            .collect();
        Some(held).filter(|held| !held.is_empty()).into_iter().collect()
    }

    fn decide(&mut self, verdict: Review) {
        self.review = verdict;
    }

    fn callback(&self, now: i64) -> (Vec<(String, String)>, Vec<u8>) {
        if self.name == "increase" {
            let body = json!({"id": format!("event_{now}"), "associated_object_id": self.who(), "associated_object_type": "entity",
                              "category": "entity.updated", "created_at": "2026-11-27T00:00:00Z", "type": "event"})
            .to_string();
            let key = standard_key(WEBHOOK).unwrap_or_default();
            let signature = sign_standard(&key, "msg_1", now, body.as_bytes());
            let headers = [
                ("webhook-id", "msg_1".to_owned()),
                ("webhook-timestamp", now.to_string()),
                ("webhook-signature", signature),
            ];
            return (headers.map(|(name, value)| (name.to_owned(), value)).to_vec(), body.into_bytes());
        }
        let body = json!({"event": "updated", "data": {"id": self.who(), "object": "legal_entity"}, "at": now}).to_string();
        let signature = Encoding::Hex.encode(&mac(Algorithm::Sha256, b"hook", &[body.as_bytes()]));
        (vec![("x-signature".to_owned(), signature)], body.into_bytes())
    }

    fn clear(&mut self) {
        self.files.clear();
        self.answered.clear();
    }

    fn has_keys(&self) -> bool {
        ["increase", "modern-treasury"].contains(&self.name)
    }

    fn hide(&mut self, hidden: bool) {
        self.hidden = hidden;
    }
}
