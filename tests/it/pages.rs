//! The applicant's pages from outside: their weight, their languages, the company's dress. What needs a browser is in `browser.rs`.

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use nightdrop::testing::config::Config;
use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::words::LANGUAGES;
use nightdrop::testing::workflow::issue;
use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::support::{Folder, Link, TestApp, TestOptions, ask, client, png};

/// What one visit may weigh on the line, everything in all.
const MOST: usize = 14 * 1024;

async fn get(app: &TestApp, path: &str, accept_language: &str) -> Response {
    get_by(&app.http, app, path, accept_language).await
}

async fn get_by(http: &Client, app: &TestApp, path: &str, accept_language: &str) -> Response {
    http.get(app.public(path))
        .header("accept", "text/html")
        .header("accept-language", accept_language)
        .send()
        .await
        .unwrap()
}

async fn page(app: &TestApp, path: &str, accept_language: &str) -> String {
    get(app, path, accept_language).await.text().await.unwrap()
}

/// What comes over the line to a browser that takes gzip; unpacked, it is what others get.
async fn weight(app: &TestApp, path: &str, accept_language: &str) -> usize {
    let plain = get(app, path, accept_language).await;
    assert!(!plain.headers().contains_key("content-encoding"), "{path}");
    let answer = app
        .http
        .get(app.public(path))
        .header("accept", "text/html")
        .header("accept-language", accept_language)
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["vary"], "Accept-Encoding", "{path}");
    let packed = answer.headers().get("content-encoding").is_some_and(|coding| coding == "gzip");
    let bytes = answer.bytes().await.unwrap();
    let plain = plain.bytes().await.unwrap();
    assert_eq!(if packed { unpacked(&bytes) } else { bytes.to_vec() }, plain, "{path}");
    assert!(packed || plain.len() < 1_000, "{path}: {} bytes as they are", plain.len());
    bytes.len()
}

fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip")
        .args(["-d", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = gzip.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes).unwrap());
    let output = gzip.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// What comes with the first file that is chosen, and what desktops load: `weight.mjs` sees that no phone loads it before.
const LATER: [&str; 3] = ["/assets/photo.", "/assets/send.", "/assets/desktop."];

/// Addresses of our own that a page loads by itself.
fn assets(page: &str) -> Vec<String> {
    let mut found: Vec<String> = page
        .split('"')
        .filter(|text| text.starts_with("/assets/") && !LATER.iter().any(|script| text.starts_with(script)))
        .map(|text| text.replace("&amp;", "&"))
        .collect();
    found.sort();
    found.dedup();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_weighs_less_than_fourteen_kilobytes_in_every_language() {
    let app = TestApp::new().await;
    let link = app.link().await;
    let mut rest = 0;
    let mut lines = Vec::new();
    for asset in assets(&page(&app, &link.path, "en").await) {
        let answer = get(&app, &asset, "en").await;
        assert_eq!(answer.headers()["cache-control"], "public, max-age=31536000, immutable", "{asset}");
        let size = weight(&app, &asset, "en").await;
        lines.push(format!("{asset}: {size}"));
        rest += size;
    }
    assert_eq!(lines.len(), 2, "{lines:?}");
    for words in LANGUAGES.iter() {
        let size = weight(&app, &link.path, words.tag).await;
        lines.push(format!("{}: {size}", words.tag));
        assert!(size + rest <= MOST, "{} bytes: {lines:?}", size + rest);
    }
    let output = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/output");
    std::fs::create_dir_all(&output).unwrap();
    std::fs::write(output.join("sizes.txt"), lines.join("\n")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_speaks_every_language_and_shows_no_seam() {
    let app = TestApp::new().await;
    let open = app.link().await;
    let done = app.link_for("passport", None).await;
    assert!(app.drop_files(&done, &[("front", &png(1, 60_000))]).await.status().is_success());
    let mut coded = ask("applicant-2", "passport");
    coded.passcode = true;
    let coded = app.issue(coded).await;
    let unknown = format!("/d/{}", "0".repeat(32));
    for (i, words) in LANGUAGES.iter().enumerate() {
        // Each language from an address of its own: guesses at links are counted.
        let http = client(IpAddr::from([127, 0, 0, 10 + u8::try_from(i).unwrap()]));
        for (path, said) in [
            (open.path.as_str(), words.say("next-receipt")),
            (&done.path, words.say("receipt-title")),
            (&coded.path, words.say("passcode-title")),
            (&unknown, words.say("title-unknown")),
        ] {
            let wanted = format!("xx, {};q=0.9, en;q=0.1", words.tag);
            let html = get_by(&http, &app, path, &wanted).await.text().await.unwrap();
            let head = format!("<html lang=\"{}\" dir=\"{}\">", words.region, words.direction);
            assert!(html.contains(&head) && html.contains(said), "{} {path}\n{html}", words.tag);
            let text = html.split("data-words=").next().unwrap().replace("]{6,8}", "");
            assert!(
                !text.contains('{') && !text.contains('}'),
                "a slot was left open in {} {path}",
                words.tag
            );
            let other = if words.tag == "en" {
                "Wie es weitergeht"
            } else {
                "What happens next"
            };
            assert!(!html.contains(other), "{} {path}", words.tag);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_picked_language_wins_over_the_requests_and_that_over_the_browsers() {
    let app = TestApp::new().await;
    let mut polish = ask("applicant-3", "government-id");
    polish.locale = Some("pl".to_owned());
    let link = app.issue(polish).await;
    assert!(page(&app, &link.path, "de").await.contains("<html lang=\"pl\""));
    let picked = page(&app, &format!("{}?language=tr", link.path), "de").await;
    assert!(picked.contains("<html lang=\"tr\"") && picked.contains(&format!("action=\"{}?language=tr\"", link.path)));
    for strange in ["?language=xx", "?language=\"><script>", "?language=", "?other=tr"] {
        assert!(
            page(&app, &format!("{}{strange}", link.path), "de")
                .await
                .contains("<html lang=\"pl\""),
            "{strange}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_in_the_readers_language_to_people_and_to_programs() {
    let app = TestApp::new().await;
    let link = app.link_for("passport", None).await;
    let refused = send(&app, &link, b"<html>no photo", "text/html", "de").await;
    let text = refused.text().await.unwrap();
    assert!(
        text.contains("Das ist kein Foto oder Dokument, das hier angenommen wird. Senden Sie eines von diesen: JPEG, PNG, PDF."),
        "{text}"
    );
    let refused = send(&app, &link, b"", "application/problem+json", "zh-CN").await;
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    let text = refused.text().await.unwrap();
    assert!(text.contains("\"code\":\"file.empty\"") && text.contains("此文件是空的"), "{text}");
    let unknown = get(&app, &format!("/d/{}", "0".repeat(32)), "ar").await.text().await.unwrap();
    assert!(unknown.contains("هذا الرابط لا يعمل"), "{unknown}");
}

async fn send(app: &TestApp, link: &Link, file: &[u8], accept: &str, language: &str) -> Response {
    let (body, kind) = crate::support::form(&[("front", file)]);
    app.http
        .post(app.public(&link.path))
        .header("content-type", kind)
        .header("accept", accept)
        .header("accept-language", language)
        .body(body)
        .send()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_browser_has_is_not_sent_again() {
    let app = TestApp::new().await;
    let html = page(&app, &app.link().await.path, "en").await;
    for asset in assets(&html) {
        let tag = get(&app, &asset, "en").await.headers()["etag"].clone();
        for (known, status) in [(tag.to_str().unwrap(), 304), ("W/\"x\"", 200), ("\"a\", W/\"b\"", 200)] {
            let answer = app
                .http
                .get(app.public(&asset))
                .header("if-none-match", known)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), status, "{asset} {known}");
            assert_eq!(answer.headers()["cache-control"], "public, max-age=31536000, immutable");
        }
        let old = asset.split('?').next().unwrap();
        let answer = get(&app, &format!("{old}?000000000000"), "en").await;
        assert_eq!(
            answer.headers()["cache-control"],
            "no-cache",
            "an old address is kept by nobody: {old}"
        );
    }
}

const DRESSED: &str = "[company]\nname = \"Bank <b>&\"\nsupport = \"+44 20 7946 0000\"\ncolour = \"#7a1f5c\"\nlogo = \"/dev/shm/LOGO\"\n\
    purpose = { en = \"Law.\", de = \"Gesetz.\" }\nlegal = \"Imprint: https://bank.example/imprint.\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_company_dresses_the_page() {
    let folder = Folder::new();
    let logo = folder.path().join("logo.svg");
    std::fs::write(&logo, "<svg xmlns=\"http://www.w3.org/2000/svg\"><path d=\"M0 0\"/></svg>").unwrap();
    let more = DRESSED.replace("/dev/shm/LOGO", logo.to_str().unwrap());
    let app = TestApp::with_options(TestOptions {
        more,
        ..TestOptions::default()
    })
    .await;
    let link = app.link().await;
    let html = page(&app, &link.path, "de").await;
    for wanted in [
        "Bank &lt;b&gt;&amp;",
        "href=\"tel:+442079460000\"",
        "Gesetz.",
        "<a href=\"https://bank.example/imprint\" rel=\"noreferrer\">https://bank.example/imprint</a>.",
    ] {
        assert!(html.contains(wanted), "{wanted}\n{html}");
    }
    let loaded = assets(&html);
    let find = |name: &str| loaded.iter().find(|a| a.contains(name)).unwrap();
    let style = get(&app, find("portal.css"), "en").await;
    assert_eq!(style.headers()["cache-control"], "public, max-age=31536000, immutable");
    assert!(style.text().await.unwrap().contains(":root{--accent:#7a1f5c}"));
    let picture = get(&app, find("company-logo"), "en").await;
    assert_eq!(picture.headers()["content-type"], "image/svg+xml");
    assert!(
        picture.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .starts_with("default-src 'none'")
    );
    assert!(
        page(&app, &link.path, "fr").await.contains("Law."),
        "English where the company says nothing in the language"
    );
}

#[test]
fn a_dress_that_cannot_be_read_or_trusted_is_refused_at_start() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("bad.svg"), "<svg onload=\"x()\"/>").unwrap();
    std::fs::write(folder.path().join("big.png"), [&b"\x89PNG\r\n\x1a\n"[..], &[0; 40_000]].concat()).unwrap();
    let faults = |company: &str| {
        let text = format!("public_url = \"https://drop.example\"\n[company]\n{company}\n");
        let faults = Config::parse(&text, folder.path(), std::iter::empty()).unwrap_err();
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    for (company, fix) in [
        ("colour = \"#ffcc00\"", "company.colour: #ffcc00 has a contrast of 1.3:1"),
        ("colour = \"red\"", "must be a colour such as"),
        ("logo = \"bad.svg\"", "company.logo: has the attribute onload"),
        ("logo = \"big.png\"", "at most 32768 (32 KiB)"),
        ("logo = \"none.svg\"", "company.logo: cannot be read"),
        ("purpose = { en = \"x\", xx = \"y\" }", "company.purpose: has the language \"xx\""),
    ] {
        let said = faults(company);
        assert!(said.contains(fix), "{company}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_page_and_every_dead_end_say_who_runs_this_and_whom_to_ask() {
    let more = "[company]\nname = \"Harbour Bank\"\nsupport = \"help@harbour.example\"\npurpose = { en = \"Law.\", de = \"Gesetz.\" }\n\
                legal = \"Imprint: https://harbour.example/imprint\"\n";
    let app = TestApp::with_options(TestOptions {
        more: more.to_owned(),
        ..TestOptions::default()
    })
    .await;
    let root = page(&app, "/", "de").await;
    for wanted in [
        "Sichere Übermittlung von Dokumenten an",
        "Gesetz.",
        "persönlichen Link",
        "<html lang=\"de\"",
    ] {
        assert!(root.contains(wanted), "{wanted}\n{root}");
    }
    let revoked = app.link().await;
    issue::revoke(&app.portal, revoked.id, Actor::Operator).await.unwrap();
    let unknown = format!("/d/{}", "0".repeat(32));
    for (path, status) in [("/", 200), (&*unknown, 404), (&revoked.path, 410), ("/nothing/here", 404)] {
        let picked = get(&app, &format!("{path}?language=it"), "de").await;
        assert_eq!(picked.status(), status, "{path}");
        let html = picked.text().await.unwrap();
        for wanted in [
            "<html lang=\"it\"",
            "href=\"mailto:help@harbour.example\"",
            "href=\"https://harbour.example/imprint\"",
            "href=\"?language=pl\"",
            "Harbour Bank",
        ] {
            assert!(html.contains(wanted), "{path}: {wanted}\n{html}");
        }
        assert!(!html.contains("<script"), "{path}\n{html}");
        assert!(!html.contains(&revoked.token), "{path}\n{html}");
    }
    // Where an answer stands under another address, the menu leads back to the link.
    let back = get(&app, &format!("{}/passcode?language=it", revoked.path), "de").await;
    assert_eq!(
        (back.status(), back.headers()["location"].to_str().unwrap()),
        (303.try_into().unwrap(), &*format!("{}?language=it", revoked.path))
    );
    let machine = app.http.get(app.public("/nothing/here")).send().await.unwrap();
    assert_eq!(machine.headers()["content-type"], "application/problem+json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_is_named_where_the_kind_has_several() {
    let more = "[documents.lease]\nlabel = { en = \"Lease\" }\nparts = [\"page-1\", \"page-2\"]\n";
    let app = TestApp::with_options(TestOptions {
        more: more.to_owned(),
        ..TestOptions::default()
    })
    .await;
    for (kind, parts, legend, title) in [
        ("government-id", &["front"][..], "Front side", "Government ID, front side only"),
        ("government-id", &["back"], "Back side", "Government ID, back side only"),
        ("government-id", &["front", "back"], "Front side", "Government ID</h1>"),
        ("passport", &["front"], "Photo or file", "Passport, photo page</h1>"),
        ("lease", &["page-2"], "Page 2", "Lease: Page 2"),
        ("lease", &["page-1", "page-2"], "Page 1", "Lease</h1>"),
    ] {
        let link = app.link_for(kind, Some(parts)).await;
        let html = page(&app, &link.path, "en").await;
        assert!(html.contains(title), "{kind} {parts:?}: {title}\n{html}");
        assert!(html.contains(&format!("{legend}</legend>")), "{kind} {parts:?}: {legend}\n{html}");
    }
    // And in the message that goes with the link.
    let mut front =
        json!({"provider": "sandbox", "applicant": "applicant-1", "document": "government-id", "parts": ["front"], "locale": "de-AT"});
    let sent = async |asked: &Value| {
        let post = app.http.post(app.staff("/api/v1/requests")).bearer_auth(&app.api_key).json(asked);
        post.send().await.unwrap().text().await.unwrap()
    };
    assert!(sent(&front).await.contains("Amtlicher Ausweis, nur Vorderseite"));
    front["parts"] = json!(["front", "back"]);
    assert!(!sent(&front).await.contains("nur Vorderseite"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_brings_its_instructions_and_the_company_can_replace_them() {
    let more = "[documents.passport]\ninstructions = { en = \"Mind the chip.\", de = \"Der Chip muss heil sein.\" }\n\
                [documents.selfie]\ninstructions = \"\"\n[documents.lease]\nlabel = { en = \"Lease\" }\nparts = [\"front\"]\n";
    let app = TestApp::with_options(TestOptions {
        more: more.to_owned(),
        ..TestOptions::default()
    })
    .await;
    let shown = async |kind: &str, language: &str| page(&app, &app.link_for(kind, None).await.path, language).await;
    assert!(shown("proof-of-address", "en").await.contains("Not older than three months"));
    assert!(shown("proof-of-address", "pl").await.contains("Nie starszy niż trzy miesiące"));
    assert!(shown("bank-statement", "hi").await.contains("तीन महीने"));
    assert!(
        shown("passport", "en").await.contains("Mind the chip.") && shown("passport", "de-CH").await.contains("Der Chip muss heil sein.")
    );
    let french = shown("passport", "fr").await;
    assert!(
        french.contains("Mind the chip.") && !french.contains("lignes de code"),
        "the built-in ones are gone in every language"
    );
    for kind in ["selfie", "lease"] {
        let html = shown(kind, "en").await;
        assert!(!html.contains("class=\"about\"") && !html.contains("-about"), "{kind}\n{html}");
    }
    // Each side of a card.
    assert_eq!(shown("government-id", "en").await.matches("Lay it flat").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_shows_a_good_and_a_bad_photo_of_itself() {
    let more = "[documents.permit]\nlabel = { en = \"Permit\" }\nparts = [\"front\", \"back\"]\n\
                [documents.lease]\nlabel = { en = \"Lease\" }\nparts = [\"front\"]\n\
                [documents.portrait]\nlabel = { en = \"Portrait\" }\nparts = [\"front\"]\ncamera = \"front\"\n\
                [documents.badge]\nlabel = { en = \"Badge\" }\nparts = [\"front\"]\nexample = \"card\"\n\
                [documents.scan]\nlabel = { en = \"Scan\" }\nparts = [\"front\"]\naccepted = [\"application/pdf\"]\n\
                [documents.plain]\nlabel = { en = \"Plain\" }\nparts = [\"front\"]\nexample = \"none\"\n";
    let app = TestApp::with_options(TestOptions {
        more: format!("[limits]\npages_per_address = 1000\n{more}"),
        ..TestOptions::default()
    })
    .await;
    let mut drawings = std::collections::BTreeMap::new();
    for (kind, like) in [
        ("government-id", "card"),
        ("drivers-license", "card"),
        ("permit", "card"),
        ("badge", "card"),
        ("passport", "passport"),
        ("proof-of-address", "page"),
        ("bank-statement", "page"),
        ("company-registration", "page"),
        ("lease", "page"),
        ("selfie", "face"),
        ("portrait", "face"),
    ] {
        let link = app.link_for(kind, None).await;
        let html = page(&app, &link.path, "en").await;
        let (_, after) = html
            .split_once("<div class=\"photos\">")
            .unwrap_or_else(|| panic!("{kind}\n{html}"));
        let (shown, _) = after.split_once("</div>").unwrap();
        assert_eq!(shown.matches("<svg viewBox=").count(), 2, "{kind}: one good, one bad");
        let first = drawings.entry(like).or_insert_with(|| shown.to_owned());
        assert_eq!(first, shown, "{kind} is drawn as a {like}");
        for words in LANGUAGES.iter() {
            let (good, bad) = if like == "face" {
                ("good-face", "bad-face")
            } else {
                ("good-photo", "bad-photo")
            };
            let html = page(&app, &link.path, words.tag).await;
            for key in [good, bad] {
                let said = format!("<figcaption>{}</figcaption>", words.say(key));
                assert!(html.contains(&said), "{kind} in {}: {said}\n{html}", words.tag);
            }
        }
    }
    let distinct: std::collections::BTreeSet<_> = drawings.values().collect();
    assert_eq!(distinct.len(), 4, "each of them is another drawing");
    for kind in ["scan", "plain"] {
        let html = page(&app, &app.link_for(kind, None).await.path, "en").await;
        assert!(!html.contains("<svg"), "{kind} has none\n{html}");
    }
}

#[test]
fn instructions_that_cannot_be_shown_are_refused_at_start() {
    let folder = Folder::new();
    for (instructions, fix) in [
        ("{ de = \"Ganz.\" }", "documents.passport.instructions: needs at least English ones"),
        ("{ en = \"Whole.\", xx = \"y\" }", "has the language \"xx\""),
        (
            "{ en = \"Whole.\", de = \"\" }",
            "of the language \"de\" must be one line of 1–300 characters",
        ),
        ("\"two\\nlines\"", "must be one line"),
        ("7", "must be"),
    ] {
        let text = format!("public_url = \"https://drop.example\"\n[documents.passport]\ninstructions = {instructions}\n");
        let faults = Config::parse(&text, folder.path(), std::iter::empty()).unwrap_err();
        let said = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(said.contains(fix), "{instructions}: {said}");
    }
}
