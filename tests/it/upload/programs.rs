//! Programs that post the form: bytes as libraries of other languages write them, and some of those libraries themselves.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::passport;
use crate::raw::{Answer, Raw, assert_nothing_held};
use crate::support::{TestApp, png, sha256};

async fn post(app: &TestApp, path: &str, kind: &str, body: &[u8]) -> Answer {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut raw = Raw::to(app).await;
    raw.send([head.as_bytes(), body].concat()).await;
    raw.answer().await
}

/// A form of one file: `HEAD` in the frame stands for the lines of its head, `FILE` for the bytes.
fn framed(frame: &str, head: &[u8], file: &[u8]) -> Vec<u8> {
    let (before, rest) = frame.split_once("HEAD").unwrap();
    let (between, after) = rest.split_once("FILE").unwrap();
    [before.as_bytes(), head, between.as_bytes(), file, after.as_bytes()].concat()
}

#[tokio::test]
async fn forms_are_taken_as_programs_write_them() {
    let app = TestApp::new().await;
    let usual = "multipart/form-data; boundary=b-1";
    let frame = "--b-1\r\nHEAD\r\n\r\nFILE\r\n--b-1--\r\n";
    let plain: &[u8] = b"Content-Disposition: form-data; name=\"front\"; filename=\"a.png\"\r\nContent-Type: image/png";
    let cases: Vec<(&str, &str, &str, &[u8])> = vec![
        (
            ".NET, both kinds of names",
            "multipart/form-data; boundary=\"b-1\"",
            frame,
            b"Content-Type: image/png\r\nContent-Disposition: form-data; name=front; filename=a.png; filename*=utf-8''a.png",
        ),
        (
            ".NET, a name that is no ASCII",
            "multipart/form-data; boundary=\"b-1\"",
            frame,
            b"Content-Disposition: form-data; name=front; filename=\"=?utf-8?B?w7wucG5n?=\"; filename*=utf-8''%C3%BC.png",
        ),
        (
            "curl on Windows, a name in code page 1252",
            usual,
            frame,
            b"Content-Disposition: form-data; name=\"front\"; filename=\"F\xfchrerschein.png\"\r\nContent-Type: image/png",
        ),
        (
            "curl on Windows, a name in code page 932 that ends in half a letter",
            usual,
            frame,
            b"Content-Disposition: form-data; name=\"front\"; filename=\"\x83\x5c\"\r\nContent-Type: image/png",
        ),
        (
            "an old requests library",
            usual,
            frame,
            b"Content-Disposition: form-data; name=\"front\"; filename*=utf-8''%C3%BC.png",
        ),
        (
            "the same, for the field",
            usual,
            frame,
            b"Content-Disposition: form-data; name*=utf-8''front; filename*=utf-8''%C3%BC.png",
        ),
        (
            "blanks behind the boundary",
            usual,
            "--b-1 \t\r\nHEAD\r\n\r\nFILE\r\n--b-1-- \r\n",
            plain,
        ),
        (
            "a preamble and an epilogue",
            usual,
            "to MIME readers\r\n\r\n--b-1\r\nHEAD\r\n\r\nFILE\r\n--b-1--\r\nbye\r\n",
            plain,
        ),
        ("no line end at the end", usual, "--b-1\r\nHEAD\r\n\r\nFILE\r\n--b-1--", plain),
        (
            "a quoted boundary with a blank",
            "multipart/form-data; charset=UTF-8; boundary=\"b 1\"",
            "--b 1\r\nHEAD\r\n\r\nFILE\r\n--b 1--\r\n",
            plain,
        ),
        (
            "Java, a boundary that needs quotes and has none",
            "multipart/form-data; boundary=----=_Part_1_2.3",
            "------=_Part_1_2.3\r\nHEAD\r\n\r\nFILE\r\n------=_Part_1_2.3--\r\n",
            b"Content-Type: application/octet-stream; name=a.png\r\nContent-Transfer-Encoding: binary\r\n\
              Content-Disposition: form-data; name=\"front\";\r\n filename=\"a.png\"",
        ),
        (
            "Apache HttpClient, a part with a length",
            usual,
            frame,
            b"Content-Disposition: form-data; name=\"front\"; filename=\"a.png\"\r\nContent-Length: 1\r\nContent-Type: image/png",
        ),
        (
            "a script with bare line feeds",
            usual,
            "--b-1\nHEAD\n\nFILE\n--b-1--\n",
            b"Content-Disposition: form-data; name=\"front\"; filename=\"a.png\"",
        ),
        (
            "small and capital letters",
            "Multipart/Form-Data; Boundary=b-1",
            frame,
            b"content-disposition: Form-Data; Name=\"front\"; FileName=\"a.png\"",
        ),
    ];
    let count = cases.len();
    let mut sent = Vec::new();
    for (seed, (name, kind, frame, head)) in cases.into_iter().enumerate() {
        let link = passport(&app).await;
        let file = png(seed as u64, 70_000);
        let answer = post(&app, &link.path, kind, &framed(frame, head, &file)).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.body);
        assert!(answer.rest.is_empty(), "{name}: a second answer");
        sent.push(sha256(&file));
    }
    app.work().await;
    let mut arrived: Vec<_> = app.has("applicant-1").await.into_iter().map(|(sha, _)| sha).collect();
    arrived.sort();
    sent.sort();
    assert_eq!(arrived, sent, "all {count}, byte for byte");
}

#[tokio::test]
async fn a_form_that_could_be_read_in_two_ways_is_refused() {
    let app = TestApp::new().await;
    let usual = "multipart/form-data; boundary=b-1";
    let frame = "--b-1\r\nHEAD\r\n\r\nFILE\r\n--b-1--\r\n";
    let plain: &[u8] = b"Content-Disposition: form-data; name=\"front\"; filename=\"a.png\"";
    let cases: [(&str, &str, &str, &[u8]); 6] = [
        ("two boundaries", "multipart/form-data; boundary=b-1; boundary=b-2", frame, plain),
        (
            "two fields in one",
            usual,
            frame,
            b"Content-Disposition: form-data; name=\"front\"; name*=utf-8''back; filename=\"a\"",
        ),
        (
            "two files in one",
            usual,
            frame,
            b"Content-Disposition: form-data; name=\"front\"; filename=\"a\"; filename=\"b\"",
        ),
        (
            "two dispositions",
            usual,
            frame,
            b"Content-Disposition: form-data; name=\"front\"\r\nContent-Disposition: form-data; name=\"back\"",
        ),
        (
            "another encoding",
            usual,
            frame,
            b"Content-Disposition: form-data; name=\"front\"\r\nContent-Transfer-Encoding: base64",
        ),
        // The last boundary ends its lines otherwise than the first: for this form it is bytes of the file.
        ("a boundary of another form", usual, "--b-1\r\nHEAD\r\n\r\nFILE\n--b-1--\n", plain),
    ];
    for (name, kind, frame, head) in cases {
        let link = passport(&app).await;
        let answer = post(&app, &link.path, kind, &framed(frame, head, &png(1, 70_000))).await;
        assert_eq!(answer.status, 400, "{name}: {}", answer.body);
        assert_nothing_held(&app, name).await;
    }
}

/// Runs a program of `tests/clients` that posts one file, as its own library writes the form.
async fn program(program: &'static str, script: &'static str, how: &'static str) {
    let app = TestApp::new().await;
    let link = passport(&app).await;
    let file = png(7, 300_000);
    // A name that every library has to encode.
    let path = app.folder.path().join("Führerschein \"neu\" 免許.png");
    std::fs::write(&path, &file).unwrap();
    let given = json!({ "url": app.public(&link.path), "file": path, "how": how });
    let said = tokio::task::spawn_blocking(move || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let parts = std::env::var("NIGHTDROP_TEST_PARTS").expect("NIGHTDROP_TEST_PARTS is not set: run tests/run");
        Command::new(program)
            .arg(root.join("tests/clients").join(script))
            .arg(given.to_string())
            .env("NIGHTDROP_TEST_PARTS", parts)
            .env("no_proxy", "*")
            .output()
            .unwrap_or_else(|_| panic!("{program} cannot be run: run tests/run"))
    })
    .await
    .unwrap();
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && out.contains("200"), "{how}\n{out}{err}");
    app.work().await;
    assert_eq!(app.has("applicant-1").await, [(sha256(&file), 1)], "{how}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs python with requests, httpx and aiohttp: run tests/run"]
async fn libraries_of_python_post_the_form() {
    for how in ["requests", "urllib3", "httpx", "aiohttp"] {
        program("python3", "form.py", how).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node: run tests/run"]
async fn fetch_of_node_posts_the_form() {
    program("node", "form.mjs", "fetch").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs curl: run tests/run"]
async fn curl_posts_the_form() {
    let app = TestApp::new().await;
    // The last one is a code page's spelling of a name that is no UTF-8.
    for (seed, name) in [
        b"id.png".to_vec(),
        "Führerschein \"neu\".png".into(),
        b"F\xfchrerschein.png".to_vec(),
    ]
    .into_iter()
    .enumerate()
    {
        use std::os::unix::ffi::OsStringExt;
        let link = passport(&app).await;
        let file = png(seed as u64, 300_000);
        let path = app.folder.path().join(format!("{seed}.png"));
        std::fs::write(&path, &file).unwrap();
        let url = app.public(&link.path);
        let said = tokio::task::spawn_blocking(move || {
            // As curl wants quotation marks in its argument.
            let name = name.into_iter().flat_map(|b| if b == b'"' { vec![b'\\', b] } else { vec![b] });
            let field = [
                format!("front=@{};filename=\"", path.display()).into_bytes(),
                name.chain([b'"']).collect(),
            ]
            .concat();
            Command::new("curl")
                .args([
                    "--silent",
                    "--noproxy",
                    "*",
                    "--write-out",
                    "%{http_code}",
                    "--output",
                    "/dev/null",
                    "--form",
                ])
                .arg(std::ffi::OsString::from_vec(field))
                .arg(url)
                .output()
                .expect("curl cannot be run: run tests/run")
        })
        .await
        .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&said.stdout),
            "200",
            "{}",
            String::from_utf8_lossy(&said.stderr)
        );
    }
    app.work().await;
    assert_eq!(app.has("applicant-1").await.len(), 3);
}
