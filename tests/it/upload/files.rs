//! Files that must not be taken: the right status, a sentence at the right input, nothing kept, and a link that still works.

use nightdrop::testing::domain::request::RequestState;
use serde_json::Value;

use super::passport;
use crate::raw::{Raw, assert_nothing_held, end, file, head, part, upload};
use crate::support::{Link, TestApp, TestOptions, png, sha256};

async fn app() -> TestApp {
    TestApp::with_options(TestOptions {
        provider: "min_bytes = 2000\nmax_bytes = 300000\n".into(),
        ..TestOptions::default()
    })
    .await
}

fn segment(marker: u8, payload: &[u8]) -> Vec<u8> {
    [
        &[0xff, marker][..],
        &u16::try_from(payload.len() + 2).unwrap().to_be_bytes(),
        payload,
    ]
    .concat()
}

/// The smallest whole JPEG, with some padding in a comment.
fn jpeg() -> Vec<u8> {
    [
        &[0xff, 0xd8][..],
        &segment(0xe0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"),
        &segment(0xfe, &[b' '; 4_000]),
        &segment(0xdb, &[0; 65]),
        &segment(0xc0, &[8, 1, 0, 2, 0, 1, 1, 0x11, 0]),
        &segment(0xc4, &[0; 17]),
        &segment(0xda, &[1, 1, 0, 0, 63, 0]),
        b"\x12\xff\0\x34\x56",
        &[0xff, 0xd9],
    ]
    .concat()
}

fn pdf(trailer: &str) -> Vec<u8> {
    let padding = "% nothing to see here\n".repeat(200);
    format!(
        "%PDF-1.7\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n2 0 obj\n<</Type/Pages/Kids[3 0 R]/Count 1>>\nendobj\n\
         3 0 obj\n<</Type /Page/Parent 2 0 R/MediaBox[0 0 9 9]>>\nendobj\n{padding}\
         xref\n0 1\n0000000000 65535 f \ntrailer\n<</Root 1 0 R/Size 4{trailer}>>\nstartxref\n9\n%%EOF\n"
    )
    .into_bytes()
}

fn padded(start: &[u8]) -> Vec<u8> {
    let mut file = start.to_vec();
    file.resize(5_000, b' ');
    file
}

fn with(name: &str, kind: &str, bytes: &[u8]) -> Vec<u8> {
    part(
        &format!("Content-Disposition: form-data; name=\"front\"; filename=\"{name}\"\r\nContent-Type: {kind}"),
        bytes,
    )
}

#[tokio::test]
async fn what_is_whole_and_asked_for_is_taken() {
    let app = app().await;
    for (name, kind, bytes) in [
        ("a.jpg", "image/jpeg", jpeg()),
        ("a.png", "image/png", png(1, 100_000)),
        ("a.pdf", "application/pdf", pdf("")),
        ("", "application/octet-stream", jpeg()),
        ("IMG.HEIC", "", jpeg()),
    ] {
        let link = passport(&app).await;
        let mut raw = Raw::to(&app).await;
        raw.send(upload(&link.path, &[with(name, kind, &bytes), end()].concat())).await;
        let answer = raw.answer().await;
        assert_eq!(answer.status, 200, "{name} {kind}: {}", answer.body);
    }
}

#[tokio::test]
async fn what_is_not_a_document_is_refused_in_words() {
    let app = app().await;
    let link = passport(&app).await;
    let whole = png(1, 200_000);
    let moving = [&whole[..33], &chunk(b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]), &whole[33..]].concat();
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("empty", vec![], 422, "file.empty"),
        ("one byte", b"\xff".to_vec(), 415, "file.unknown_type"),
        ("too small", jpeg()[..40].to_vec(), 422, "file.t"),
        (
            "HTML",
            padded(b"<!DOCTYPE html><script>alert(1)</script>"),
            415,
            "file.unknown_type",
        ),
        (
            "SVG",
            padded(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
            415,
            "file.unknown_type",
        ),
        ("ZIP", padded(b"PK\x03\x04\x14\0\0\0\x08\0"), 415, "file.unknown_type"),
        ("GIF", padded(b"GIF89a\x01\0\x01\0\x80\0\0"), 415, "file.unknown_type"),
        ("text", padded(b"just words"), 415, "file.unknown_type"),
        ("program", padded(b"\x7fELF\x02\x01\x01"), 415, "file.unknown_type"),
        ("half a JPEG", jpeg()[..4_100].to_vec(), 422, "file.truncated"),
        ("half a PNG", whole[..150_000].to_vec(), 422, "file.truncated"),
        ("broken PNG", [&whole[..40], &[0xaa; 4], &whole[44..]].concat(), 422, "file.damaged"),
        ("moving PNG", moving, 422, "file.animated"),
        ("locked PDF", pdf("/Encrypt 9 0 R"), 422, "file.password_protected"),
        (
            "PDF that starts a program",
            pdf("/OpenAction<</S/Launch/F(x.exe)>>"),
            422,
            "file.active_content",
        ),
        ("too big", png(1, 310_000), 413, "file.too_big"),
    ];
    for (name, bytes, status, code) in cases {
        let body = [with("a.png", "", &bytes), end()].concat();
        let (page, problem) = both(&app, &link, &body).await;
        assert_eq!(page.0, status, "{name}: {}", page.1);
        assert!(
            page.1.contains("id=\"front-error\""),
            "{name}: no sentence at the input: {}",
            page.1
        );
        assert!(page.1.contains("aria-invalid=\"true\""), "{name}");
        assert!(page.1.contains("<form method=\"post\""), "{name}: no form");
        assert_eq!(problem["status"], status, "{name}: {problem}");
        assert!(problem["code"].as_str().unwrap().starts_with(code), "{name}: {problem}");
        assert_eq!(problem["errors"][0]["field"], "front", "{name}: {problem}");
        let sentence = problem["detail"].as_str().unwrap();
        assert!(page.1.contains(&sentence.replace('&', "&amp;")), "{name}: {sentence}");
    }
    still_works(&app, &link).await;
}

/// A provider's minimum for pictures stands on the page before anything is chosen, is checked with the upload, and is not a PDF's.
#[tokio::test]
async fn a_picture_that_the_provider_finds_too_small_is_told_at_once() {
    let app = TestApp::with_options(TestOptions {
        provider: "min_bytes = 1024\nmin_image_bytes = 150000\nmin_image_side = 40\n".into(),
        ..TestOptions::default()
    })
    .await;
    let link = passport(&app).await;
    let page = app.http.get(app.public(&link.path)).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("photos from 150 KB"), "{page}");
    assert!(
        page.contains("data-least=\"1024\"") && page.contains("data-least-photo=\"150000\""),
        "{page}"
    );
    let small = png(1, 130_000);
    let (page, problem) = both(&app, &link, &[with("a.png", "image/png", &small), end()].concat()).await;
    assert_eq!((page.0, problem["code"].as_str()), (422, Some("file.too_small")), "{problem}");
    // Too narrow to read.
    let (_, problem) = both(&app, &link, &[with("a.png", "image/png", &png(1, 110_000)), end()].concat()).await;
    assert_eq!(problem["code"], "file.too_few_pixels", "{problem}");
    let mut raw = Raw::to(&app).await;
    raw.send(upload(&link.path, &[with("a.pdf", "application/pdf", &pdf("")), end()].concat()))
        .await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [&kind[..], data].concat();
    let crc = !body.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |c, _| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 },
        )
    });
    [&u32::try_from(data.len()).unwrap().to_be_bytes()[..], &body, &crc.to_be_bytes()].concat()
}

/// The same body as a browser and as a program; nothing may be left by either.
async fn both(app: &TestApp, link: &Link, body: &[u8]) -> ((u16, String), Value) {
    let before = app.request(link).await;
    let answers = both_ways(app, link, body).await;
    assert_nothing_held(app, &answers.0.1).await;
    let mut after = app.request(link).await;
    // Only how often something was destroyed shows.
    after.cleanup = before.cleanup;
    assert_eq!(after, before, "{}", answers.0.1);
    answers
}

/// The same, where parts of it may be kept.
async fn both_ways(app: &TestApp, link: &Link, body: &[u8]) -> ((u16, String), Value) {
    let mut answers = Vec::new();
    for accept in ["text/html,application/xhtml+xml", "application/json"] {
        let mut raw = Raw::to(app).await;
        raw.send([head(&link.path, body.len(), &format!("Accept: {accept}\r\n")).as_bytes(), body].concat())
            .await;
        answers.push(raw.answer().await);
    }
    let problem = answers.pop().unwrap();
    assert_eq!(problem.headers["content-type"], "application/problem+json");
    let page = answers.pop().unwrap();
    assert!(page.headers["content-type"].starts_with("text/html"));
    let json: Value = serde_json::from_str(&problem.body).unwrap();
    for field in ["type", "title", "status", "detail", "code"] {
        assert!(json.get(field).is_some(), "{json}");
    }
    assert_eq!(problem.status, page.status);
    ((page.status, page.body), json)
}

async fn still_works(app: &TestApp, link: &Link) {
    assert_eq!(app.state(link).await, RequestState::Awaiting);
    let mut files: Vec<(&str, Vec<u8>)> = vec![("front", png(9, 20_000))];
    if app.request(link).await.parts.len() == 2 {
        files.push(("back", png(8, 20_000)));
    }
    let files: Vec<_> = files.iter().map(|(n, b)| (*n, b.as_slice())).collect();
    assert_eq!(app.drop_files(link, &files).await.status(), 200);
}

#[tokio::test]
async fn a_type_that_the_request_does_not_take_is_refused() {
    let app = TestApp::with_options(TestOptions {
        more: "[documents.photo]\nlabel = { en = \"Photo\" }\nparts = [\"front\"]\naccepted = [\"image/jpeg\"]\n".into(),
        ..TestOptions::default()
    })
    .await;
    let link = app.link_for("photo", None).await;
    for (bytes, code) in [(png(1, 10_000), "file.not_accepted"), (pdf(""), "file.not_accepted")] {
        let (page, problem) = both(&app, &link, &[with("a", "", &bytes), end()].concat()).await;
        assert_eq!((page.0, problem["code"].as_str()), (415, Some(code)));
        assert!(page.1.contains("id=\"front-error\""));
    }
    // What the sender calls a PDF and is a JPEG: browsers and phones get names and types wrong, so the content decides.
    let mut raw = Raw::to(&app).await;
    raw.send(upload(&link.path, &[with("a.pdf", "application/pdf", &jpeg()), end()].concat()))
        .await;
    assert_eq!(raw.answer().await.status, 200);
}

#[tokio::test]
async fn too_much_is_refused_before_and_while_it_comes() {
    let app = app().await;
    let link = passport(&app).await;
    // Announced: answered without a byte of it.
    let mut raw = Raw::to(&app).await;
    raw.send(head(&link.path, 50_000_000, "Accept: text/html\r\nConnection: close\r\n"))
        .await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 413);
    assert!(
        answer.body.contains("id=\"front-error\"") && answer.body.contains("<form"),
        "{}",
        answer.body
    );
    assert_nothing_held(&app, "announced").await;
    // Not announced: at the first byte too many.
    let mut raw = Raw::to(&app).await;
    raw.send(head(&link.path, 0, "Transfer-Encoding: chunked\r\n").replace("Content-Length: 0\r\n", ""))
        .await;
    let body = [with("a.png", "image/png", &png(1, 8_000_000)), end()].concat();
    for piece in body.chunks(50_000) {
        if !raw
            .send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat())
            .await
        {
            break;
        }
    }
    raw.send("0\r\n\r\n").await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 413);
    assert!(answer.body.contains("id=\"front-error\""), "{}", answer.body);
    assert_nothing_held(&app, "not announced").await;
    // Many small fields instead of one large file.
    let field = part("Content-Disposition: form-data; name=\"front\"", b"");
    let (page, _) = both(&app, &link, &[field.repeat(3_000), end()].concat()).await;
    assert_eq!(page.0, 400, "{}", page.1);
    still_works(&app, &link).await;
}

/// What it is, the form's parts, the status, the code, and the part where the sentence stands.
type Case<'a> = (&'a str, Vec<Vec<u8>>, u16, &'a str, Option<&'a str>);

#[tokio::test]
async fn a_form_that_does_not_fit_is_refused_at_the_right_place() {
    let app = TestApp::new().await;
    let picture = png(1, 90_000);
    let (front, back) = (file("front", &picture), file("back", &picture));
    let nothing = part(
        "Content-Disposition: form-data; name=\"back\"; filename=\"\"\r\nContent-Type: application/octet-stream",
        b"",
    );
    let cases: Vec<Case> = vec![
        ("front only", vec![front.clone()], 422, "file.missing", Some("back")),
        ("back only", vec![back.clone()], 422, "file.missing", Some("front")),
        (
            "an input left empty",
            vec![front.clone(), nothing.clone()],
            422,
            "file.missing",
            Some("back"),
        ),
        ("nothing", vec![], 422, "file.missing", Some("front")),
        (
            "two fronts",
            vec![front.clone(), front.clone(), back.clone()],
            400,
            "file.twice",
            Some("front"),
        ),
        (
            "bad back",
            vec![front.clone(), file("back", b"GIF89a")],
            415,
            "file.unknown_type",
            Some("back"),
        ),
        (
            "a stranger",
            vec![front.clone(), file("side", &picture), back.clone()],
            400,
            "request.malformed",
            None,
        ),
        ("a path", vec![file("../front", &picture)], 400, "request.malformed", None),
        (
            "no name",
            vec![part("Content-Disposition: form-data; filename=\"a.png\"", &picture)],
            400,
            "request.malformed",
            None,
        ),
        (
            "encoded",
            vec![part(
                "Content-Disposition: form-data; name=\"front\"; filename=\"a.png\"\r\nContent-Transfer-Encoding: base64",
                b"iVBORw0KGgo=",
            )],
            400,
            "request.malformed",
            None,
        ),
        (
            "two names for one file",
            vec![part(
                "Content-Disposition: form-data; name=\"front\"; filename=\"a.png\"; filename=\"b.png\"",
                &picture,
            )],
            400,
            "request.malformed",
            None,
        ),
        (
            "two names for one field",
            vec![part(
                "Content-Disposition: form-data; name=\"front\"; name=\"back\"; filename=\"a.png\"",
                &picture,
            )],
            400,
            "request.malformed",
            None,
        ),
    ];
    for (name, parts, status, code, place) in cases {
        let link = app.link().await;
        let body = [parts.concat(), end()].concat();
        let (page, problem) = both_ways(&app, &link, &body).await;
        assert_eq!(page.0, status, "{name}: {}", page.1);
        assert_eq!(problem["code"], code, "{name}: {problem}");
        // Whatever was refused, the same link takes the document.
        assert_eq!(
            app.drop_files(&link, &[("front", &picture), ("back", &picture)]).await.status(),
            200,
            "{name}"
        );
        match place {
            Some(place) => {
                assert!(page.1.contains(&format!("id=\"{place}-error\"")), "{name}: {}", page.1);
                assert_eq!(page.1.matches("-error\" role").count(), 1, "{name}: one sentence only");
                assert_eq!(problem["errors"][0]["field"], place, "{name}: {problem}");
            }
            None => assert!(page.1.contains("id=\"problem\""), "{name}: {}", page.1),
        }
    }
}

/// The part is the unit: what has arrived completely stays, and is asked for no more.
#[tokio::test]
async fn a_form_whose_second_file_is_refused_keeps_the_first() {
    let app = TestApp::new().await;
    let (front, back) = (png(1, 90_000), png(2, 90_000));
    let refused: Vec<(&str, Vec<u8>)> = vec![
        ("a bad back", file("back", b"GIF89a")),
        ("no back", Vec::new()),
        ("a stranger", file("side", &back)),
    ];
    for (name, second) in refused {
        let link = app.link().await;
        let (page, _) = both_ways(&app, &link, &[file("front", &front), second, end()].concat()).await;
        // What has arrived may be taken again, behind "Change".
        let wanted = |page: &str, part: &str| {
            let step = page
                .split(&format!("data-part=\"{part}\""))
                .nth(1)
                .and_then(|rest| rest.split("</fieldset>").next());
            !step.is_some_and(|step| step.contains("data-stored") && step.contains("<details><summary>"))
        };
        let shown = |page: &str| (wanted(page, "front"), wanted(page, "back"));
        assert_eq!(shown(&page.1), (false, true), "{name}: {}", page.1);
        assert_eq!(page.1.matches("class=\"stored\"").count(), 1, "{name}");
        assert_eq!(app.state(&link).await, RequestState::Receiving, "{name}");
        let looked = app.http.get(app.public(&link.path)).send().await.unwrap().text().await.unwrap();
        assert_eq!(shown(&looked), (false, true), "{name}: {looked}");
        let answer = app.drop_files(&link, &[("back", &back)]).await;
        assert_eq!(answer.status(), 200, "{name}");
    }
    app.work().await;
    let received = app.received().await;
    assert_eq!(received.len(), 3);
    for document in received {
        assert_eq!(document["parts"][0]["sha256"], sha256(&front));
        assert_eq!(document["parts"][1]["sha256"], sha256(&back));
    }
    assert_nothing_held(&app, "after the purge").await;
}
