//! The pictures of the README: the applicant's page on a phone and the console's list of requests, light and dark, drawn by Chromium from a real portal. With
//! `NIGHTDROP_TEST_WRITE` set they are written to docs/pictures; without it, to tests/output, and what is stored must have their size. Everybody on them is invented.

use nightdrop::testing::domain::agent::{Actor, Role};
use nightdrop::testing::domain::document::ProviderName;
use nightdrop::testing::workflow::{issue, sign_in};
use serde_json::json;
use time::Duration;

use super::root;
use crate::browser::script;
use crate::support::{TestApp, TestOptions, ask};

/// Light and dark of both.
const PICTURES: [&str; 4] = ["page.webp", "page-dark.webp", "console.webp", "console-dark.webp"];
/// Of all together, so that the README is quickly there.
const MOST: u64 = 150_000;
const PASSWORD: &str = "harbour lantern copper violet";

const BANK: &str = "[company]\nname = \"Harbour Bank\"\nsupport = \"support@harbour.example\"\n\
    legal = \"Harbour Bank plc, 1 Quay Street, London. Privacy: https://harbour.example/privacy\"\n\
    purpose = \"We are required by law to check who our customers are.\"\n";
/// The page of a sandbox says that it is only a test.
const STRIPE: &str = "[providers.stripe]\nkind = \"stripe\"\napi_key_file = \"sandbox-key\"\n";

/// What has become of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comes {
    Not,
    AndIsPassedOn,
    AndIsRefused,
}

/// A day's requests, the oldest first: whom for and what.
const REQUESTS: [(&str, &str, Comes); 6] = [
    ("acct_ines", "proof-of-address", Comes::AndIsPassedOn),
    ("acct_omar", "bank-statement", Comes::AndIsPassedOn),
    ("acct_mila", "drivers-license", Comes::Not),
    ("acct_lena", "passport", Comes::AndIsPassedOn),
    ("acct_paul", "selfie", Comes::AndIsRefused),
    ("acct_noor", "proof-of-address", Comes::AndIsPassedOn),
];

/// A picture's width and height, as the head of an extended WebP file has them: each less one, in three bytes.
fn size_of(webp: &[u8]) -> [u32; 2] {
    assert_eq!((&webp[..4], &webp[8..16]), (&b"RIFF"[..], &b"WEBPVP8X"[..]), "an extended WebP");
    [24, 27].map(|at| 1 + u32::from_le_bytes([webp[at], webp[at + 1], webp[at + 2], 0]))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium and playwright-core: run tests/run"]
async fn the_readmes_pictures_are_of_the_pages_as_they_are() {
    let (options, clock) = TestOptions {
        more: BANK.to_owned(),
        provider: STRIPE.to_owned(),
        ..TestOptions::default()
    }
    .with_clock();
    let mut app = TestApp::with_options(options).await;
    app.restart_as(|config| config.public_url = "https://drop.harbour.example".to_owned())
        .await;
    let email = "ana@harbour.example";
    let ana = sign_in::add_agent(&app.portal, email, "Ana Sample", Role::Agent, PASSWORD, Actor::Operator)
        .await
        .unwrap();
    let issued = async |ask| app.known(issue::issue(&app.portal, ask, Actor::Agent(ana.id), None).await.unwrap());
    for (applicant, document, comes) in REQUESTS {
        let link = issued(ask(applicant, document)).await;
        clock.forward(Duration::minutes(3));
        if comes == Comes::AndIsRefused {
            app.misbehave(&["400"]).await;
        }
        if comes != Comes::Not {
            app.drop_front(&link, 1).await;
            app.work().await;
        }
        clock.forward(Duration::minutes(50));
    }
    let mut james = ask("acct_james", "passport");
    james.provider = ProviderName::parse("stripe").unwrap();
    let waiting = issued(james).await;
    clock.forward(Duration::minutes(6));
    let is_written = std::env::var_os("NIGHTDROP_TEST_WRITE").is_some();
    let stored = root().join("docs/pictures");
    let drawn = if is_written {
        stored.clone()
    } else {
        root().join("tests/output/pictures")
    };
    std::fs::create_dir_all(&drawn).unwrap();
    let given = json!({
        "page": app.public(&waiting.path).replace("127.0.0.1", "localhost"),
        "console": app.staff("").replace("127.0.0.1", "localhost"),
        "agent": email, "password": PASSWORD, "folder": drawn,
    });
    tokio::task::spawn_blocking(move || script("pictures.mjs", &given)).await.unwrap();
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut all = 0;
    for name in PICTURES {
        let [new, old] = [&drawn, &stored].map(|folder| std::fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")));
        assert_eq!(size_of(&new), size_of(&old), "{name}: draw it anew with NIGHTDROP_TEST_WRITE=1");
        assert!(readme.contains(&format!("docs/pictures/{name}")), "{name}");
        all += old.len() as u64;
    }
    assert!(all <= MOST, "{all} bytes");
}
