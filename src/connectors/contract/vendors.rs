//! The providers of the contract, each as its documentation has it and no more than a delivery of both sides of a government-issued document needs.

use serde_json::{Value, json};

use super::{Honest, Review, Subject};
use crate::connectors::fake::{Seen, outbound_of};

/// Every native kind that sends. The kind `http` is what its table makes of it: a subject with the recipe's `lines` and an `answer` puts it under the contract.
pub(super) const SUBJECTS: &[Subject] = &[
    Subject {
        kind: "sandbox",
        lines: "api_key_file='key'",
        applicant: "a1",
        answer: sandbox,
        other_applicant: &[],
        other_document: &[("document-", "document-9"), ("sbx_1", "sbx_9")],
        lists: true,
        judges: true,
    },
    Subject {
        kind: "stripe",
        lines: "api_key_file='sk'\nfiles_url='{url}'",
        applicant: "acct_1,person_1",
        answer: stripe,
        other_applicant: &[("person_1", "person_9")],
        other_document: &[("file_1", "file_8"), ("file_2", "file_9")],
        lists: true,
        judges: true,
    },
    Subject {
        kind: "adyen",
        lines: "api_key_file='key'\nmin_image_bytes=1\nmin_bytes=1",
        applicant: "LE1",
        answer: adyen,
        other_applicant: &[("LE1", "LE9")],
        other_document: &[("SE1", "SE9"), ("document-", "document-9"), ("Document ", "Document 9")],
        lists: true,
        judges: true,
    },
    Subject {
        kind: "bridge",
        lines: "api_key_file='key'\ncountry='USA'",
        applicant: "cust1",
        answer: bridge,
        other_applicant: &[("cust1", "cust9")],
        other_document: &[],
        lists: false,
        judges: true,
    },
    Subject {
        kind: "dwolla",
        lines: "client_id='key'\nclient_secret_file='secret'",
        applicant: "cust1",
        answer: dwolla,
        other_applicant: &[("cust1", "cust9"), ("documents/doc-", "documents/other-")],
        other_document: &[("doc-1", "doc-8"), ("doc-2", "doc-9")],
        lists: true,
        judges: true,
    },
    Subject {
        kind: "lithic",
        lines: "api_key_file='key'\nupload_hosts=['127.0.0.1']",
        applicant: "ah1,en1",
        answer: lithic,
        other_applicant: &[("ah1", "ah9"), ("en1", "en9")],
        other_document: &[("sub1", "sub9"), ("UPLOADED", "PENDING_UPLOAD"), ("ACCEPTED", "PENDING_UPLOAD")],
        lists: true,
        judges: true,
    },
    Subject {
        kind: "onfido",
        lines: "api_token_file='t'\nreports=['document']",
        applicant: "11111111-1111-4111-8111-111111111111",
        answer: onfido,
        other_applicant: &[("11111111-1111-4111-8111-111111111111", "99999999-9999-4999-8999-999999999999")],
        other_document: &[
            ("document-", "document-9"),
            ("check-1", "check-9"),
            ("nightdrop-d0", "nightdrop-d9"),
        ],
        lists: true,
        judges: true,
    },
    Subject {
        kind: "sumsub",
        lines: "app_token_file='t'\nsecret_key_file='k'\ncountry='USA'",
        applicant: "5bb8cca10a975a624903cf65",
        answer: sumsub,
        other_applicant: &[("101", "901"), ("102", "902")],
        other_document: &[("ID_CARD", "PASSPORT"), ("101", "901"), ("102", "902")],
        lists: true,
        judges: true,
    },
    Subject {
        kind: "synapse",
        lines: "client_id='c'\nclient_secret_file='s'\nfingerprint_file='f'\nuser_ip='1.2.3.4'",
        applicant: "u1",
        answer: synapse,
        other_applicant: &[("\"u1\"", "\"u9\"")],
        other_document: &[("GOVT_ID", "SELFIE")],
        lists: true,
        judges: true,
    },
    Subject {
        kind: "unit",
        lines: "api_key_file='tok'",
        applicant: "46",
        answer: unit,
        other_applicant: &[("\"3\"", "\"9\"")],
        other_document: &[("\"3\"", "\"8\"")],
        lists: true,
        judges: true,
    },
];

fn file_names() -> [String; 2] {
    let outbound = outbound_of("x", &[("front", b"x"), ("back", b"y")], 1);
    [outbound.file_name(0), outbound.file_name(1)]
}

fn count(before: &[Seen], line: &str) -> usize {
    before.iter().filter(|seen| seen.line.starts_with(line)).count()
}

/// Method and path.
fn call(seen: &Seen) -> &str {
    seen.line.trim_end_matches(" HTTP/1.1")
}

fn unknown(seen: &Seen) -> Honest {
    Honest::json(404, &json!({"message": format!("no such call: {}", seen.line)}))
}

fn sandbox(before: &[Seen], seen: &Seen, review: Review) -> Honest {
    let status = if review == Review::Accepted { "accepted" } else { "pending" };
    let document = json!({"id": "sbx_1", "document": "government-id", "status": status, "files": file_names()});
    match call(seen) {
        "POST /v1/applicants/a1/documents" => Honest::json(201, &document),
        "GET /v1/applicants/a1/documents" => {
            let there = count(before, "POST") > 0;
            Honest::json(200, &json!({"documents": if there { json!([document]) } else { json!([]) }}))
        }
        "GET /v1/documents/sbx_1" => Honest::json(200, &document),
        _ => unknown(seen),
    }
}

fn stripe(before: &[Seen], seen: &Seen, review: Review) -> Honest {
    const PERSON: &str = "/v1/accounts/acct_1/persons/person_1";
    let attached = count(before, &format!("POST {PERSON}")) > 0 || seen.line.starts_with("POST /v1/accounts");
    let (front, back) = if attached {
        (json!("file_1"), json!("file_2"))
    } else {
        (Value::Null, Value::Null)
    };
    let (status, pending) = match review {
        Review::Accepted => ("verified", json!([])),
        Review::Open => ("pending", json!(["verification.document"])),
    };
    let person = json!({"id": "person_1", "object": "person", "account": "acct_1",
        "requirements": {"currently_due": [], "past_due": [], "pending_verification": pending, "errors": []},
        "verification": {"status": status, "document": {"front": front, "back": back, "details_code": null}}});
    match call(seen) {
        "POST /v1/files" => {
            let id = format!("file_{}", count(before, "POST /v1/files") + 1);
            Honest::json(200, &json!({"id": id, "object": "file", "purpose": "identity_document"}))
        }
        line if line.ends_with(PERSON) => Honest::json(200, &person),
        _ => unknown(seen),
    }
}

fn adyen(before: &[Seen], seen: &Seen, review: Review) -> Honest {
    let [name, _] = file_names();
    let outbound = outbound_of("x", &[("front", b"x")], 1);
    let description = format!("Document {}", outbound.document);
    match call(seen) {
        "POST /documents" => Honest::json(
            200,
            &json!({"id": "SE1", "type": "identityCard", "description": description, "fileName": name, "owner": {"id": "LE1", "type": "legalEntity"}}),
        ),
        "GET /legalEntities/LE1" => {
            let there = count(before, "POST") > 0;
            let details = if there {
                json!([{"id": "SE1", "fileName": name, "description": description}])
            } else {
                json!([])
            };
            let status = if review == Review::Accepted { "valid" } else { "pending" };
            Honest::json(
                200,
                &json!({"id": "LE1", "documentDetails": details, "capabilities": {"payout": {"verificationStatus": status}}}),
            )
        }
        _ => unknown(seen),
    }
}

fn bridge(_: &[Seen], seen: &Seen, review: Review) -> Honest {
    let status = if review == Review::Accepted { "active" } else { "under_review" };
    match call(seen) {
        "PUT /customers/cust1" | "GET /customers/cust1" => Honest::json(
            200,
            &json!({"id": "cust1", "status": status, "requirements_due": [], "endorsements": []}),
        ),
        _ => unknown(seen),
    }
}

fn dwolla(before: &[Seen], seen: &Seen, review: Review) -> Honest {
    let status = if review == Review::Accepted { "accepted" } else { "pending" };
    let base = format!("http://{}", seen.header("host"));
    let posted = count(before, "POST /customers");
    match call(seen) {
        "POST /token" => Honest::json(200, &json!({"access_token": "tok", "expires_in": 3600})),
        "POST /customers/cust1/documents" => Honest::empty(201).with("location", format!("{base}/documents/doc-{}", posted + 1)),
        "GET /customers/cust1/documents" => {
            let one = |n: usize| json!({"id": format!("doc-{n}"), "type": "idCard", "created": n.to_string(), "documentVerificationStatus": status});
            let all: Vec<Value> = (1..=posted).map(one).collect();
            let links = json!({"self": {"href": format!("{base}/customers/cust1/documents")}});
            Honest::json(200, &json!({"_links": links, "_embedded": {"documents": all}, "total": posted}))
        }
        _ => unknown(seen),
    }
}

fn lithic(before: &[Seen], seen: &Seen, review: Review) -> Honest {
    let base = format!("http://{}", seen.header("host"));
    let upload = |side: &str| {
        let status = match (count(before, &format!("PUT /bucket/{side}")), review) {
            (0, _) => "PENDING_UPLOAD",
            (_, Review::Accepted) => "ACCEPTED",
            (_, Review::Open) => "UPLOADED",
        };
        json!({"image_type": side, "status": status, "status_reasons": [], "upload_url": format!("{base}/bucket/{side}?sig=1")})
    };
    let submission = json!({"token": "sub1", "account_holder_token": "ah1", "document_type": "DRIVERS_LICENSE", "entity_token": "en1",
        "required_document_uploads": [upload("FRONT"), upload("BACK")]});
    match call(seen) {
        "POST /v1/account_holders/ah1/documents" => Honest::json(201, &submission),
        "GET /v1/account_holders/ah1/documents" => {
            let opened = count(before, "POST") > 0;
            Honest::json(200, &json!({"data": if opened { json!([submission]) } else { json!([]) }}))
        }
        "GET /v1/account_holders/ah1/documents/sub1" => Honest::json(200, &submission),
        line if line.starts_with("PUT /bucket/") => Honest::empty(200),
        _ => unknown(seen),
    }
}

fn onfido(before: &[Seen], seen: &Seen, review: Review) -> Honest {
    const ID: &str = "11111111-1111-4111-8111-111111111111";
    let names = file_names();
    let document = |n: usize| json!({"id": format!("d{n}"), "file_name": names[n], "applicant_id": ID});
    let posted = count(before, "POST /documents");
    let mut check = json!({"id": "check-1", "applicant_id": ID, "status": "in_progress", "tags": ["nightdrop-d0"]});
    if review == Review::Accepted {
        check["status"] = json!("complete");
        check["result"] = json!("clear");
    }
    match call(seen).split('?').next().unwrap() {
        "POST /documents" => Honest::json(201, &document(posted)),
        "GET /documents" => {
            let all: Vec<Value> = (0..posted).map(document).collect();
            Honest::json(200, &json!({"documents": all}))
        }
        "GET /checks" => Honest::json(200, &json!({"checks": []})),
        "POST /checks" => Honest::json(201, &check),
        "GET /checks/check-1" => Honest::json(200, &check),
        _ => unknown(seen),
    }
}

fn sumsub(before: &[Seen], seen: &Seen, review: Review) -> Honest {
    const APPLICANT: &str = "/resources/applicants/5bb8cca10a975a624903cf65";
    let posted = count(before, &format!("POST {APPLICANT}/info/idDoc"));
    let line = call(seen);
    let (method, path) = line.split_once(' ').unwrap();
    match (method, path.strip_prefix(APPLICANT).unwrap_or_default()) {
        ("POST", "/info/idDoc") => {
            Honest::json(200, &json!({"idDocType": "ID_CARD", "country": "USA"})).with("x-image-id", (101 + posted).to_string())
        }
        ("GET", "/requiredIdDocsStatus") => {
            let images: Vec<usize> = (0..posted).map(|n| 101 + n).collect();
            let answer = if review == Review::Accepted {
                json!({"reviewAnswer": "GREEN"})
            } else {
                json!({})
            };
            Honest::json(
                200,
                &json!({"IDENTITY": {"idDocType": "ID_CARD", "country": "USA", "imageIds": images, "reviewResult": answer}}),
            )
        }
        ("POST", "/status/pending?reason=docs%20uploaded") => Honest::json(200, &json!({"ok": 1})),
        ("GET", "/status") => {
            let status = if count(before, &format!("POST {APPLICANT}/status")) > 0 {
                "pending"
            } else {
                "init"
            };
            Honest::json(200, &json!({"reviewStatus": status}))
        }
        _ => unknown(seen),
    }
}

fn synapse(before: &[Seen], seen: &Seen, review: Review) -> Honest {
    let there = count(before, "PATCH") > 0 || seen.line.starts_with("PATCH");
    let status = if review == Review::Accepted {
        "SUBMITTED|VALID"
    } else {
        "SUBMITTED|REVIEWING"
    };
    let sub = |kind: &str| json!({"id": kind.to_lowercase(), "document_type": kind, "status": status, "last_updated": 5});
    let subs = if there {
        json!([sub("GOVT_ID"), sub("GOVT_ID_BACK")])
    } else {
        json!([])
    };
    match call(seen) {
        "GET /users/u1?full_dehydrate=yes" | "PATCH /users/u1" => Honest::json(
            200,
            &json!({"_id": "u1", "refresh_token": "refresh", "documents": [{"id": "base1", "physical_docs": subs}]}),
        ),
        "POST /oauth/u1" => Honest::json(200, &json!({"oauth_key": "key", "expires_in": "7200"})),
        _ => unknown(seen),
    }
}

fn unit(before: &[Seen], seen: &Seen, review: Review) -> Honest {
    let put = |path: &str| count(before, &format!("PUT {path} ")) > 0 || call(seen) == format!("PUT {path}");
    let status = match (
        put("/applications/46/documents/3"),
        put("/applications/46/documents/3/back"),
        review,
    ) {
        (false, false, _) => "Required",
        (true, false, _) => "ReceivedFront",
        (false, true, _) => "ReceivedBack",
        (true, true, Review::Open) => "PendingReview",
        (true, true, Review::Accepted) => "Approved",
    };
    let document = json!({"type": "document", "id": "3", "attributes": {"documentType": "IdDocument", "status": status}});
    match call(seen) {
        "GET /applications/46/documents" => Honest::json(200, &json!({"data": [document]})),
        "PUT /applications/46/documents/3" | "PUT /applications/46/documents/3/back" => Honest::json(200, &json!({"data": document})),
        _ => unknown(seen),
    }
}
