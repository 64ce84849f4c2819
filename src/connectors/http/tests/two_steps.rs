//! Uploads and what follows them.

use super::*;

/// A provider with files and an attachment of each, as one would script it.
struct Scripted;

impl Scripted {
    const TABLE: &str = "api_key_file='sk'\nidempotency_header='Idempotency-Key'\n[upload]\npath='/files'\nper_part=true\nfile_field='file'\n\
         fields={purpose='identity'}\nreference='/id'\nreference_prefix='file_'\nanswer_names={'/key'='{key}'}\n\
         [list]\npath='/files?key={key}'\nitems='/data'\nnames={'/key'='{key}'}\nreference='/id'\n\
         [attach]\npath='/documents'\nper_part=true\nfields={'/who'='{applicant}','/file'='{reference}'}\n\
         answer_names={'/who'='{applicant}','/file'='{reference}'}\n\
         [attach.list]\npath='/documents?who={applicant}&key={key}'\nitems='/data'\nnames={'/who'='{applicant}','/key'='{key}'}\nreference='/file'";

    fn answer(seen: &crate::connectors::fake::Seen) -> Reply {
        let key = seen.header("idempotency-key").to_owned();
        if seen.line.starts_with("POST /files") {
            return Reply::json(200, json!({"id": format!("file_{key}"), "key": key}));
        }
        let body = seen.json();
        Reply::json(200, json!({"who": body["who"], "file": body["file"], "key": key}))
    }
}

#[tokio::test]
async fn each_upload_is_attached_and_a_later_attempt_continues_behind_what_is_done() {
    // The third sending request (the first attachment) is lost.
    let fake = Fake::start(|n, seen| if n == 2 { Reply::Drop } else { Scripted::answer(seen) }).await;
    let connector = connector(&fake, Scripted::TABLE);
    let (mut outbound, noted) = (two_parts(), Noted::default());
    let outcome = connector.deliver(&outbound, &noted).await;
    assert!(matches!(outcome, Err(Failure::Ambiguous { .. })), "{outcome:?}");
    outbound.progress = noted.steps.lock().unwrap().clone();
    let steps: Vec<_> = outbound.progress.iter().map(|(step, _)| step.as_str()).collect();
    assert_eq!(steps, ["part:front", "part:back"]);
    let delivered = connector.deliver(&outbound, &noted).await.unwrap();
    let (front, back) = (
        format!("file_{}", outbound.keys.idempotency(0)),
        format!("file_{}", outbound.keys.idempotency(1)),
    );
    assert_eq!(delivered.references, [front.clone(), back]);
    let seen = fake.seen();
    let lines: Vec<_> = seen.iter().map(|s| s.line.trim_end_matches(" HTTP/1.1")).collect();
    assert_eq!(
        lines,
        [
            "POST /files",
            "POST /files",
            "POST /documents",
            "POST /documents",
            "POST /documents"
        ]
    );
    assert_eq!(seen[2], seen[3], "the lost request is repeated byte by byte, under its key");
    assert_eq!(seen[2].json(), json!({"who": "per,son", "file": front}));
    assert_ne!(seen[2].header("idempotency-key"), seen[4].header("idempotency-key"));
    assert_eq!(class_of(connector.as_ref()), ProviderClass::IdempotencyKey);
}

#[tokio::test]
async fn a_lost_upload_that_nothing_is_attached_by_may_be_repeated() {
    let fake = Fake::replies(vec![Reply::Drop]).await;
    let outcome = connector(&fake, Scripted::TABLE).deliver(&two_parts(), &NoProgressLog).await;
    assert!(matches!(outcome, Err(Failure::Definite { .. })), "{outcome:?}");
    // Where the uploads count by themselves, it is not known.
    let table = Scripted::TABLE.replace("[attach", "[submit");
    let outcome = connector(&fake, &table).deliver(&two_parts(), &NoProgressLog).await;
    assert!(matches!(outcome, Err(Failure::Ambiguous { .. })), "{outcome:?}");
}

#[tokio::test]
async fn the_second_request_has_a_question_of_its_own() {
    let outbound = two_parts();
    let entry = |call: u8| json!({"data": [{"who": "per,son", "file": format!("file_{call}"), "key": outbound.keys.idempotency(call)}]});
    let fake = Fake::replies(vec![
        Reply::json(200, entry(128)),
        Reply::json(200, entry(129)),
        Reply::json(200, json!({"data": []})),
        Reply::json(200, json!({"data": []})),
        Reply::json(200, entry(128)),
        Reply::json(200, json!({"data": []})),
        Reply::json(200, json!({"ok": true})),
    ])
    .await;
    let connector = connector(&fake, Scripted::TABLE);
    let Presence::Present(found) = connector.reconcile(&outbound).await.unwrap() else {
        panic!()
    };
    assert_eq!(found.references, ["file_128", "file_129"]);
    assert_eq!(
        fake.seen()[0].line,
        format!("GET /documents?who=per%2Cson&key={} HTTP/1.1", outbound.keys.idempotency(128))
    );
    assert_eq!(connector.reconcile(&outbound).await, Ok(Presence::Absent));
    assert_eq!(connector.reconcile(&outbound).await, Ok(Presence::Unknown), "one of two");
    assert!(connector.reconcile(&outbound).await.is_err(), "a stranger's answer proves nothing");
}

#[tokio::test]
async fn without_a_question_only_a_second_request_that_was_never_sent_is_absent() {
    let table = "[upload]\npath='/f'\nreference='/id'\nanswer_names={'/who'='{applicant}'}\n\
                 [attach]\npath='/a'\nfields={'/files'='{references}'}\nanswer_names={'/who'='{applicant}'}";
    let fake = Fake::replies(vec![Reply::json(200, json!({}))]).await;
    let connector = connector(&fake, table);
    let mut outbound = two_parts();
    assert_eq!(class_of(connector.as_ref()), ProviderClass::NoRepeat);
    assert_eq!(connector.reconcile(&outbound).await, Ok(Presence::Absent));
    outbound.progress = vec![("upload".into(), "f1".into())];
    assert_eq!(connector.reconcile(&outbound).await, Ok(Presence::Unknown));
    // An attempt that was ended between its last note and its report.
    outbound.progress.push(("attach".into(), String::new()));
    let Ok(Presence::Present(found)) = connector.reconcile(&outbound).await else {
        panic!()
    };
    assert_eq!(found.references, ["f1"]);
    assert!(fake.seen().is_empty(), "nobody is asked about what an answer has named");
}

#[tokio::test]
async fn parts_whose_uploads_are_all_noted_are_there() {
    let table = "[upload]\npath='/f'\nper_part=true\nreference='/id'\nanswer_names={'/name'='{file_name}'}";
    let fake = Fake::replies(vec![Reply::json(200, json!({}))]).await;
    let connector = connector(&fake, table);
    let mut outbound = two_parts();
    outbound.progress = vec![("part:front".into(), "f1".into())];
    assert_eq!(connector.reconcile(&outbound).await, Ok(Presence::Unknown));
    outbound.progress.push(("part:back".into(), "f2".into()));
    let Ok(Presence::Present(found)) = connector.reconcile(&outbound).await else {
        panic!()
    };
    assert_eq!(found.references, ["f1", "f2"]);
}

#[tokio::test]
async fn references_go_into_one_request_as_a_list_or_by_part() {
    let table = |fields: &str| {
        format!(
            "[upload]\npath='/f/{{part}}'\nper_part=true\nreference='/id'\nanswer_names={{'/name'='{{file_name}}'}}\n\
             [attach]\nmethod='PUT'\nfixed_id=true\npath='/a/{{applicant_1}}/{{applicant_2}}'\n{fields}\nreference='/data/0/id'\nanswer_names={{'/data/0/who'='{{applicant_1}}'}}"
        )
    };
    for (fields, expected) in [
        (
            "fields={'/files'='{references}','/kind'='{kind}'}",
            json!({"files": ["f0", "f1"], "kind": "government-id"}),
        ),
        (
            "fields={'/value/{part}'='{reference}'}",
            json!({"value": {"front": "f0", "back": "f1"}}),
        ),
        (
            "fields={'/{n}/id'='{reference}','/{n}/side'='{part}'}",
            json!([{"id": "f0", "side": "front"}, {"id": "f1", "side": "back"}]),
        ),
    ] {
        let outbound = two_parts();
        let names = [outbound.file_name(0), outbound.file_name(1)];
        let fake = Fake::start(move |n, _| match n {
            0 | 1 => Reply::json(200, json!({"id": format!("f{n}"), "name": names[n]})),
            _ => Reply::json(200, json!({"data": [{"id": "evidence", "who": "per"}]})),
        })
        .await;
        let connector = connector(&fake, &table(fields));
        assert_eq!(class_of(connector.as_ref()), ProviderClass::FixedId);
        let delivered = connector.deliver(&outbound, &NoProgressLog).await.unwrap();
        assert_eq!(delivered.references, ["evidence"]);
        let seen = fake.seen();
        assert_eq!(seen[2].line, "PUT /a/per/son HTTP/1.1");
        assert_eq!(seen[2].json(), expected);
    }
    let fake = Fake::replies(vec![Reply::json(200, json!({}))]).await;
    let connector = connector(&fake, &table("fields={'/files'='{references}'}"));
    let outbound = outbound_of("alone", &[("front", &b"x"[..])], 1);
    assert!(matches!(
        connector.deliver(&outbound, &NoProgressLog).await,
        Err(Failure::Final { .. })
    ));
    assert!(matches!(connector.reconcile(&outbound).await, Err(Failure::Final { .. })));
    assert!(fake.seen().is_empty(), "a reference without its second piece goes nowhere");
}

#[tokio::test]
async fn a_list_at_the_top_carries_every_part() {
    let fake = Fake::replies(vec![
        Reply::with(202, &[], b""),
        Reply::json(
            200,
            json!({"id": "per,son", "documents": [{"sub": format!("{}-front", two_parts().document), "id": "d1"}]}),
        ),
    ])
    .await;
    let table = "auth='basic'\nuser=''\napi_key_file='key'\n[upload]\npath='/accounts/{applicant}/documents'\nshape='base64'\nfile_field='/{n}/content'\n\
                 fields={'/{n}/mime_type'='{type}','/{n}/sub'='{document}-{part}'}\n\
                 [list]\npath='/accounts/{applicant}'\nitems='/documents'\nanswer_names={'/id'='{applicant}'}\nnames={'/sub'='{document}-{part}'}\nreference='/id'";
    let connector = connector(&fake, table);
    let outbound = two_parts();
    assert_eq!(connector.deliver(&outbound, &NoProgressLog).await.unwrap().references, ["d1"]);
    let seen = fake.seen();
    assert_eq!(seen[0].header("authorization"), format!("Basic {}", BASE64.encode(b":key")));
    let part = |n: usize, name: &str, data: &[u8]| json!({"mime_type": "image/png", "sub": format!("{}-{name}", outbound.document), "content": BASE64.encode(data), "n": n});
    let mut expected = json!([part(0, "front", b"\x00front"), part(1, "back", b"back!")]);
    for item in expected.as_array_mut().unwrap() {
        item.as_object_mut().unwrap().remove("n");
    }
    assert_eq!(seen[0].json(), expected);
}

#[tokio::test]
async fn upload_addresses_are_relative_or_listed_and_get_credentials_only_if_the_table_says_so() {
    let other = Fake::replies(vec![Reply::with(200, &[], b"")]).await;
    let elsewhere = format!("http://localhost:{}/put?sig=1", other.address.port());
    let table = |more: &str| {
        format!(
            "api_key_file='sk'\nheaders={{x-tenant='t'}}\n[upload]\npath='/v1/slots'\nshape='presigned'\nreference='/id'\naddress='/url'\n{more}\n\
             [lookup]\npath='/v1/files/{{reference}}'\nnames={{'/id'='{{reference}}','/size'='{{size}}'}}"
        )
    };
    let outbound = outbound_of("a", &[("front", &b"front"[..])], 2);
    let deliver = async |more: &str, url: &str| {
        let url = url.to_owned();
        let fake = Fake::start(move |_, seen| {
            if seen.line.starts_with("PUT") {
                return Reply::with(200, &[], b"");
            }
            Reply::json(200, json!({"id": "f1", "url": url, "size": 5}))
        })
        .await;
        let outcome = connector(&fake, &table(more)).deliver(&outbound, &NoProgressLog).await;
        (outcome, fake.seen())
    };
    for (more, authorization, tenant) in [("", "", ""), ("address_credentials=true", "Bearer sk", "t")] {
        let (outcome, seen) = deliver(more, "/v1/bytes/f1?part=1").await;
        assert_eq!(outcome.unwrap().references, ["f1"]);
        assert_eq!(seen[1].line, "PUT /v1/bytes/f1?part=1 HTTP/1.1");
        assert_eq!(
            (seen[1].header("authorization"), seen[1].header("x-tenant")),
            (authorization, tenant)
        );
        assert_eq!(seen[1].body, b"front");
    }
    let (outcome, _) = deliver("address_hosts=['localhost']", &elsewhere).await;
    assert!(outcome.is_ok());
    assert_eq!(other.seen()[0].header("authorization"), "", "no credentials for another host");
    let (outcome, _) = deliver("address_hosts=['localhost']\naddress_credentials=true", &elsewhere).await;
    assert!(outcome.is_ok());
    assert_eq!(other.seen()[1].header("authorization"), "Bearer sk");
    let port = other.address.port();
    for bad in [
        elsewhere.clone(),
        format!("//localhost:{port}/put"),
        format!("/\\localhost:{port}/put"),
        "http://169.254.169.254/latest".to_owned(),
        "//169.254.169.254/latest".to_owned(),
        "bytes/f1".to_owned(),
        "file:///etc/passwd".to_owned(),
        "http://u:p@127.0.0.1/x".to_owned(),
    ] {
        let (outcome, seen) = deliver("", &bad).await;
        assert!(matches!(outcome, Err(Failure::Final { .. })), "{bad}: {outcome:?}");
        assert_eq!(seen.len(), 1, "{bad}");
    }
    assert_eq!(other.seen().len(), 2);
}

#[tokio::test]
async fn bytes_at_an_address_count_only_when_an_answer_named_them() {
    let slot = |n: usize| Reply::json(200, json!({"id": "f1", "url": format!("/bytes/{n}")}));
    let table = "[upload]\npath='/slots'\nshape='presigned'\nreference='/id'\naddress='/url'\naddress_names={'/file'='{reference}','/uploaded'='yes'}";
    let outbound = outbound_of("a", &[("front", &b"front"[..])], 2);
    for (said, counts) in [
        (json!({"file": "f1", "uploaded": "yes"}), true),
        (json!({"file": "f2", "uploaded": "yes"}), false),
        (json!({"file": "f1"}), false),
        (json!({}), false),
    ] {
        let fake = Fake::replies(vec![slot(1), Reply::json(200, said.clone())]).await;
        let outcome = connector(&fake, table).deliver(&outbound, &NoProgressLog).await;
        assert_eq!(outcome.is_ok(), counts, "{said}: {outcome:?}");
        assert!(counts || matches!(outcome, Err(Failure::Ambiguous { .. })));
    }
}

#[tokio::test]
async fn steps_may_have_hosts_of_their_own() {
    let api = Fake::start(|_, seen| {
        let value = seen.json()["value"].clone();
        Reply::json(200, json!({"id": "req", "value": value}))
    })
    .await;
    let files = Fake::replies(vec![Reply::json(200, json!({"id": "f1", "who": "ent"}))]).await;
    let table = format!(
        "api_key_file='sk'\n[upload]\npath='/files'\nreference='/id'\nanswer_names={{'/who'='{{applicant_1}}'}}\n\
         [attach]\nbase_url='{}'\nmethod='PUT'\npath='/entities/{{applicant_1}}/requirements/{{applicant_2}}'\nfields={{value='{{reference}}'}}\nanswer_names={{'/id'='{{applicant_2}}'}}",
        api.url()
    );
    let outbound = outbound_of("ent,req", &[("front", &b"front"[..])], 2);
    let delivered = connector(&files, &table).deliver(&outbound, &NoProgressLog).await.unwrap();
    assert_eq!(delivered.references, ["f1"]);
    let seen = api.seen();
    assert_eq!(seen[0].line, "PUT /entities/ent/requirements/req HTTP/1.1");
    assert_eq!(seen[0].header("authorization"), "Bearer sk", "the operator wrote this address");
    assert_eq!(seen[0].json(), json!({"value": "f1"}));
}

#[tokio::test]
async fn what_is_attached_already_is_neither_uploaded_nor_attached_again() {
    let table = "[upload]\npath='/f'\nper_part=true\nreference='/id'\nanswer_names={'/name'='{file_name}'}\n\
                 [attach]\npath='/a'\nper_part=true\nfields={'/file'='{reference}','/tag'='{document}-{part}'}\nanswer_names={'/file'='{reference}'}\n\
                 [attach.list]\npath='/a'\nitems='/data'\nnames={'/tag'='{document}-{part}'}\nreference='/file'";
    let outbound = two_parts();
    let (back, tag) = (outbound.file_name(1), format!("{}-front", outbound.document));
    let fake = Fake::start(move |_, seen| match seen.line.as_str() {
        // The last epoch's attempt attached the front; its notes are forgotten.
        "GET /a HTTP/1.1" => Reply::json(200, json!({"data": [{"file": "f1", "tag": tag}]})),
        "POST /f HTTP/1.1" => Reply::json(200, json!({"name": back, "id": "f2"})),
        _ => Reply::json(200, json!({"file": seen.json()["file"]})),
    })
    .await;
    let connector = connector(&fake, table);
    assert_eq!(class_of(connector.as_ref()), ProviderClass::Reconcile);
    assert_eq!(
        connector.reconcile(&outbound).await,
        Ok(Presence::Absent),
        "the next attempt leaves out what is there"
    );
    let delivered = connector.deliver(&outbound, &NoProgressLog).await.unwrap();
    assert_eq!(delivered.references, ["f1", "f2"]);
    let sent: Vec<_> = fake.seen().into_iter().filter(|s| s.line.starts_with("POST")).collect();
    assert_eq!(sent.len(), 2);
    assert!(sent[0].text().contains("back!") && sent[1].json()["file"] == "f2");
}

#[tokio::test]
async fn the_class_is_that_of_the_attachment_or_of_the_weaker_request() {
    let fake = Fake::replies(vec![Reply::Drop]).await;
    let named = "answer_names={'/who'='{applicant}'}";
    let put = "method='PUT'\nfixed_id=true";
    let header = "idempotency_header='Idempotency-Key'";
    let list = "path='/l'\nitems='/data'\nfile_name='/name'";
    let cases = [
        // upload, its list, word, second request, its list
        ("", "", "attach", "", "", ProviderClass::NoRepeat),
        ("", "", "attach", header, "", ProviderClass::IdempotencyKey),
        ("", "", "attach", put, "", ProviderClass::FixedId),
        (header, "", "attach", "", "", ProviderClass::NoRepeat),
        ("", "", "attach", "", list, ProviderClass::Reconcile),
        (header, "", "submit", "", "", ProviderClass::NoRepeat),
        (header, "", "submit", put, "", ProviderClass::IdempotencyKey),
        (put, "", "submit", put, "", ProviderClass::FixedId),
        (put, "", "submit", "duplicate_statuses=[409]", "", ProviderClass::DuplicateAnswered),
        ("", list, "submit", put, "", ProviderClass::Reconcile),
        ("", list, "submit", "", list, ProviderClass::Reconcile),
        (put, "", "submit", "", list, ProviderClass::NoRepeat),
    ];
    for (upload, listed, word, second, second_listed, class) in cases {
        let table = |name: &str, lines: &str| {
            if lines.is_empty() {
                String::new()
            } else {
                format!("[{name}]\n{lines}\n")
            }
        };
        let text = format!(
            "[upload]\npath='/u'\n{named}\n{upload}\n{}[{word}]\npath='/s'\n{named}\n{second}\n{}",
            table("list", listed),
            table(&format!("{word}.list"), second_listed)
        );
        assert_eq!(class_of(connector(&fake, &text).as_ref()), class, "{text}");
    }
}
