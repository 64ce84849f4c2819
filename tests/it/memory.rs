//! What stands in a portal's memory half a minute after a purge, for somebody who has all of it: a core image, a snapshot of the machine, a swapped page.
//!
//! The portal is the real program in a process of its own; the provider is in this one. Its whole memory is read from outside and searched for the documents
//! that went through it. The kernel's own socket buffers are not in it and out of reach.

use std::collections::HashMap;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use nightdrop::testing::app::{self, App, KeyProtection};
use nightdrop::testing::config::Config;
use nightdrop::testing::crypto::envelope::Suite;
use nightdrop::testing::domain::agent::Actor;
use nightdrop::testing::sandbox::{self, Sandbox};
use nightdrop::testing::settings::Secret;
use nightdrop::testing::storage::clock::Source;
use nightdrop::testing::workflow::issue;
use serde_json::Value;

use crate::cli::{Process, nightdrop};
use crate::raw::Raw;
use crate::support::{Folder, ask, client, form, png, private, until};

const WINDOW: usize = 32;

/// Every 32nd window of some documents: a run of 63 of their bytes anywhere cannot be missed.
struct Windows {
    /// With the document's number and the window's place in it.
    known: HashMap<[u8; WINDOW], (usize, usize)>,
    /// The first three bytes of each, for speed.
    starts: Vec<bool>,
}

impl Windows {
    fn of(documents: &[&[u8]]) -> Self {
        let mut windows = Self {
            known: HashMap::new(),
            starts: vec![false; 1 << 24],
        };
        // Heads and tables of a picture are everybody's; its noise is not.
        for (number, document) in documents.iter().enumerate() {
            let noise = &document[1_024..document.len() - 1_024];
            for (place, window) in noise.chunks_exact(WINDOW).enumerate() {
                windows.starts[start(window)] = true;
                windows.known.insert(window.try_into().unwrap(), (number, 1_024 + place * WINDOW));
            }
        }
        windows
    }

    fn found<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = (usize, (usize, usize))> + 'a {
        let places = bytes.windows(WINDOW).enumerate().filter(|(_, place)| self.starts[start(place)]);
        places.filter_map(|(at, place)| Some((at, *self.known.get(place)?)))
    }
}

fn start(window: &[u8]) -> usize {
    usize::from(window[0]) << 16 | usize::from(window[1]) << 8 | usize::from(window[2])
}

/// A run of one document in one mapping of the process.
#[derive(Debug)]
struct Found {
    windows: usize,
    #[allow(dead_code)] // These are said when the test fails.
    at: String,
    #[allow(dead_code)]
    document: (usize, usize),
    #[allow(dead_code)]
    mapping: String,
}

/// Searches everything that the process may read or write; the program's own file and other read-only mappings hold no document.
fn search(process: u32, windows: &Windows) -> Vec<Found> {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let mut found: Vec<Found> = Vec::new();
    for mapping in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, to) = mapping.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // A mapping that went away meanwhile holds nothing; a page that cannot be read ends the rest of its mapping only.
        for (number, page) in bytes.chunks_mut(1 << 16).enumerate() {
            let _ = memory.read_exact_at(page, from + (number << 16) as u64);
        }
        let mut last = (usize::MAX, usize::MAX);
        for (at, document) in windows.found(&bytes) {
            match found.last_mut() {
                Some(run) if last == (document.0, document.1.wrapping_sub(WINDOW)) => run.windows += 1,
                _ => found.push(Found {
                    windows: 1,
                    at: format!("{:x}", from + at as u64),
                    document,
                    mapping: mapping.to_owned(),
                }),
            }
            last = document;
        }
    }
    found
}

fn config(folder: &Folder, sandbox: &Sandbox) -> (PathBuf, Config) {
    private(&folder.path().join("sandbox-key"), "sandbox-key");
    private(&folder.path().join("webhook"), "whsec_bmlnaHRkcm9wLXNhbmRib3gtc2VjcmV0");
    let text = format!(
        "public_url = \"http://127.0.0.1\"\ndata_dir = \"data\"\naccept_volatile_data = true\nlisten = {{ public = \"127.0.0.1:0\", staff = \"127.0.0.1:0\" }}\n\
         erasure = {{ slots = 64, accept_weak = true }}\nlimits = {{ pages_per_address = 100000 }}\n\
         [providers.sandbox]\nkind = \"sandbox\"\nbase_url = \"{}\"\napi_key_file = \"sandbox-key\"\nwebhook_secret_file = \"webhook\"\nconfirm = \"received\"\n",
        sandbox.url()
    );
    let path = folder.path().join("nightdrop.toml");
    private(&path, &text);
    (path, Config::parse(&text, folder.path(), std::iter::empty()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root: reads the memory of a process that lets nobody else look"]
async fn nothing_of_a_purged_document_stands_in_memory() {
    nightdrop::testing::connectors::client::install_tls();
    let settings = sandbox::SandboxSettings {
        api_key: Secret::new("sandbox-key"),
        webhook_secret: Secret::new("whsec_bmlnaHRkcm9wLXNhbmRib3gtc2VjcmV0"),
        callback_url: None,
    };
    let sandbox = Sandbox::start(SocketAddr::from(([127, 0, 0, 1], 0)), settings).await.unwrap();
    let folder = Folder::new();
    let (path, config) = config(&folder, &sandbox);
    app::create(&config, &KeyProtection::KekFile, Suite::XWing).unwrap();
    let mut links = Vec::new();
    {
        let app = App::open(config, Source::System).await.unwrap();
        for number in 0..4 {
            let asked = ask(&format!("applicant-{number}"), "passport");
            let issued = issue::issue(&app.portal, asked, Actor::Operator, None).await.unwrap();
            links.push(format!("/d/{}", issued.token.encode()));
        }
    }
    let mut command = nightdrop(&["serve", "--log", "json", "--config", path.to_str().unwrap()]);
    let mut portal = Process::start(&mut command);
    let first: Value = portal.json();
    assert_eq!(first["event"], "listening", "{first}");
    let public = first["public"].as_str().unwrap().to_owned();

    let (by_form, by_parts, refused, left) = (png(21, 3_000_000), png(22, 2_000_000), png(23, 900_000), png(24, 1_500_000));
    let windows = Windows::of(&[&by_form, &by_parts, &refused, &left]);
    let http = client([127, 0, 0, 1].into());

    // One that is on its way is there: the search finds what is to be found.
    let mut raw = Raw::at(public.trim_start_matches("http://").parse().unwrap()).await;
    let (body, kind) = form(&[("front", &left)]);
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        links[0],
        body.len()
    );
    assert!(raw.send([head.as_bytes(), &body[..1_000_000]].concat()).await);
    until("the search sees a document on its way", async || {
        !search(portal.id(), &windows).is_empty()
    })
    .await;
    raw.vanish();

    let (body, kind) = form(&[("front", &by_form)]);
    let send =
        |path: &str, body: Vec<u8>, kind: String| http.post(format!("{public}{path}")).header("content-type", kind).body(body).send();
    assert_eq!(send(&links[1], body, kind).await.unwrap().status(), 200);

    // A file that the inspection refuses at its end.
    let (body, kind) = form(&[("front", &refused[..refused.len() - 40])]);
    assert_eq!(send(&links[2], body, kind).await.unwrap().status(), 422);

    let part = format!("{public}{}/parts/front", links[3]);
    let tus = |method: &str| {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        http.request(method, &part).header("Tus-Resumable", "1.0.0")
    };
    let begun = tus("POST")
        .header("Upload-Length", by_parts.len())
        .header("Upload-Metadata", "filename cGFzcy5wbmc=");
    assert_eq!(begun.send().await.unwrap().status(), 201);
    let mut at = 0;
    for share in [700_000, 650_001, by_parts.len()] {
        let piece = by_parts[at..by_parts.len().min(at + share)].to_vec();
        let sent = tus("PATCH")
            .header("Upload-Offset", at)
            .header("Content-Type", "application/offset+octet-stream");
        at += piece.len();
        assert_eq!(sent.body(piece).send().await.unwrap().status(), 204);
    }
    for link in [&links[1], &links[3]] {
        until("the document is purged", async || {
            let page = http.get(format!("{public}{link}")).send().await.unwrap();
            page.text().await.unwrap().contains("deleted from this site on")
        })
        .await;
    }
    drop(http);
    // Connections that are kept for a next request have their last buffers until they close.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let found = search(portal.id(), &windows);
        if found.is_empty() {
            break;
        }
        let all: usize = found.iter().map(|f| f.windows).sum();
        assert!(
            tokio::time::Instant::now() < deadline,
            "{all} windows of purged documents: {found:#?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    portal.signal("-TERM");
    assert_eq!(portal.end().1, Some(0));
}
