//! Certificates that the portal fetches itself, from a real authority that connects to the portal before it believes a name.

mod authority;
mod front;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nightdrop::testing::app::FetchPace;
use nightdrop::testing::config::Config;
use nightdrop::testing::domain::request::RequestState;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Folder, TestApp, TestOptions, form, png, private, until, walk};
use authority::{CUSTOMER, Pebble, Wish, free_port};
use front::{Front, Says};

const NAME: &str = "drop.example.com";
const CONSOLE: &str = "console.example.com";

/// As in earnest, only that a test does not wait for hours.
fn pace() -> FetchPace {
    FetchPace {
        look: Duration::from_millis(20),
        first_pause: Duration::from_millis(200),
        longest_pause: Duration::from_secs(1),
        ..FetchPace::default()
    }
}

fn options() -> TestOptions {
    TestOptions {
        fetch_pace: pace(),
        ..TestOptions::default()
    }
}

/// The lines of `[acme]` for an authority at this port.
fn table(port: u16, ca_file: &Path) -> String {
    format!(
        "[acme]\nterms_agreed = true\ncontact = \"it@example.com\"\ndirectory = \"https://localhost:{port}/dir\"\nca_file = \"{}\"\n",
        ca_file.display()
    )
}

/// Lets a portal fetch its certificate, and serve at this port of the machine.
async fn fetches(app: &mut TestApp, port: u16, acme: &str) {
    let text = format!("public_url = \"https://{NAME}\"\nstaff_url = \"https://{CONSOLE}\"\n{acme}");
    let parsed = Config::parse(&text, app.folder.path(), std::iter::empty()).unwrap_or_else(|faults| panic!("{faults:?}"));
    app.restart_as(|config| {
        config.public_url = parsed.public_url;
        config.staff_url = parsed.staff_url;
        config.acme = parsed.acme;
        config.public.tls = parsed.public.tls;
        config.staff.tls = parsed.staff.tls;
        config.public.address.set_port(port);
    })
    .await;
}

/// What is logged on this thread while it lives.
struct Logged {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Logged {
    fn here() -> Self {
        let text: Arc<Mutex<Vec<u8>>> = Arc::default();
        let to = text.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_env_filter("nightdrop=debug")
            .with_writer(move || Sink(to.clone()))
            .finish();
        Self {
            text,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    fn of(&self, event: &str) -> Vec<Value> {
        let text = String::from_utf8(self.text.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["fields"]["event"] == event).collect()
    }

    /// The last reason for which there is no certificate.
    fn why(&self) -> String {
        let failed = self.of("certificate_not_fetched");
        failed
            .last()
            .map_or_else(String::new, |line| line["fields"]["why"].as_str().unwrap().to_owned())
    }
}

/// What a browser that believes this root gets from a port under a name: the certificate, or why there is none.
async fn shown(port: u16, name: &str, root: &str) -> Result<Vec<u8>, String> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(root.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let socket = TcpStream::connect(("127.0.0.1", port)).await.map_err(|e| e.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let tls = connector.connect(name, socket).await.map_err(|e| e.to_string())?;
    Ok(tls.get_ref().1.peer_certificates().unwrap()[0].to_vec())
}

async fn until_shown(port: u16, name: &str, root: &str) -> Vec<u8> {
    let mut found = None;
    until("the certificate is shown", async || {
        found = shown(port, name, root).await.ok();
        found.is_some()
    })
    .await;
    found.unwrap()
}

/// A client under the public name that believes this root alone.
fn https(port: u16, root: &str) -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .resolve(NAME, std::net::SocketAddr::from(([127, 0, 0, 1], port)))
        .tls_certs_only([reqwest::Certificate::from_pem(root.as_bytes()).unwrap()])
        .build()
        .unwrap()
}

/// A figure of the public listener in the metrics.
async fn figure(app: &TestApp, name: &str) -> Option<i64> {
    let text = app.http.get(app.staff("/metrics")).send().await.unwrap().text().await.unwrap();
    let line = format!("nightdrop_{name}{{listener=\"public\"}} ");
    text.lines().find_map(|l| l.strip_prefix(&line)?.parse().ok())
}

#[tokio::test]
#[ignore = "needs pebble: run tests/run"]
async fn a_certificate_is_fetched_and_kept_and_a_restart_asks_for_none() {
    let port = free_port();
    let pebble = Pebble::start(Wish::that_verifies_at(port)).await;
    let root = pebble.root().await;
    let mut app = TestApp::with_options(options()).await;
    fetches(&mut app, port, &table(pebble.port, &pebble.ca_file())).await;
    let first = until_shown(port, NAME, &root).await;

    let link = app.link_for("passport", None).await;
    let page = https(port, &root)
        .get(format!("https://{NAME}:{port}{}", link.path))
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), 200);
    assert!(
        page.headers()["set-cookie"].to_str().unwrap().starts_with("__Host-"),
        "{:?}",
        page.headers()
    );
    assert!(shown(port, "other.example.com", &root).await.is_err(), "it is for one name");

    // What was fetched is told truly, and lies here for its owner alone.
    let ends = figure(&app, "certificate_end_timestamp_seconds").await.unwrap();
    let wanted = time::OffsetDateTime::now_utc().unix_timestamp() + 3_600;
    assert!((wanted - 120..=wanted).contains(&ends), "{ends}, {wanted}");
    assert_eq!(figure(&app, "certificate_failures").await, Some(0));
    let kept = walk(&app.data().join("acme"));
    let names: Vec<_> = kept
        .iter()
        .map(|file| file.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert!(
        kept.len() == 2 && names.contains(&format!("{NAME}.pem")) && names.contains(&"account.json".to_owned()),
        "{names:?}"
    );
    for file in &kept {
        assert_eq!(
            std::fs::metadata(file).unwrap().permissions().mode() & 0o7777,
            0o600,
            "{}",
            file.display()
        );
        let folder = std::fs::metadata(file.parent().unwrap()).unwrap();
        assert_eq!(folder.permissions().mode() & 0o7777, 0o700);
    }

    drop(pebble);
    app.restart().await;
    assert_eq!(shown(port, NAME, &root).await.unwrap(), first, "at once, with no authority to ask");

    // A kept file that was damaged is no certificate, and no reason not to start.
    let log = Logged::here();
    let file = kept.iter().find(|file| file.ends_with(format!("{NAME}.pem"))).unwrap();
    private(file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    app.restart().await;
    assert_eq!(log.of("certificate_unusable").len(), 1);
    assert!(shown(port, NAME, &root).await.is_err());
}

#[tokio::test]
#[ignore = "needs pebble: run tests/run"]
async fn a_certificate_is_renewed_at_two_thirds_of_its_life_and_an_upload_goes_on() {
    let port = free_port();
    let pebble = Pebble::start(Wish::that_verifies_at(port)).await;
    let root = pebble.root().await;
    let (options, clock) = options().with_clock();
    let mut app = TestApp::with_options(options).await;
    fetches(&mut app, port, &table(pebble.port, &pebble.ca_file())).await;
    let first = until_shown(port, NAME, &root).await;
    // A start takes what is kept; whoever just fetched one waits an hour for the next.
    app.restart().await;
    assert_eq!(shown(port, NAME, &root).await.unwrap(), first);

    let link = app.link_for("passport", None).await;
    let (body, kind) = form(&[("front", &png(1, 400_000))]);
    let (half, rest) = (body[..200_000].to_vec(), body[200_000..].to_vec());
    let (go, may_go) = tokio::sync::oneshot::channel::<()>();
    let pieces = futures_util::stream::unfold((Some(half), Some((may_go, rest))), |(half, then)| async {
        if let Some(half) = half {
            return Some((Ok::<_, std::io::Error>(half), (None, then)));
        }
        let (may_go, rest) = then?;
        may_go.await.ok()?;
        Some((Ok(rest), (None, None)))
    });
    let sending = https(port, &root)
        .post(format!("https://{NAME}:{port}{}", link.path))
        .header("content-type", kind)
        .body(reqwest::Body::wrap_stream(pieces))
        .send();
    let before = app.portal.blobs.documents().await.unwrap().len();
    let mut sending = tokio::spawn(sending);
    until("the upload has begun", async || {
        if sending.is_finished() {
            panic!("answered before all was sent: {:?}", (&mut sending).await);
        }
        app.portal.blobs.documents().await.unwrap().len() > before
    })
    .await;

    clock.forward(time::Duration::minutes(39));
    assert_eq!(shown(port, NAME, &root).await.unwrap(), first, "not yet");
    clock.forward(time::Duration::minutes(2));
    let mut renewed = None;
    until("another certificate is shown", async || {
        renewed = shown(port, NAME, &root).await.ok();
        renewed.as_ref() != Some(&first)
    })
    .await;
    assert!(!sending.is_finished(), "the upload goes on");
    go.send(()).unwrap();
    let answer = sending.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    assert_eq!(app.state(&link).await, RequestState::Received);
    app.restart().await;
    assert_eq!(shown(port, NAME, &root).await.ok(), renewed, "the new one is the one that is kept");
}

#[tokio::test]
#[ignore = "needs pebble: run tests/run"]
async fn the_console_has_a_certificate_of_its_own_that_is_proved_at_the_public_port() {
    let port = free_port();
    let pebble = Pebble::start(Wish::that_verifies_at(port)).await;
    let root = pebble.root().await;
    let mut app = TestApp::with_options(options()).await;
    let acme = table(pebble.port, &pebble.ca_file()) + "listeners = [\"public\", \"staff\"]\n";
    fetches(&mut app, port, &acme).await;
    let staff = app.running.as_ref().unwrap().staff.port();
    let (public, console) = (until_shown(port, NAME, &root).await, until_shown(staff, CONSOLE, &root).await);
    assert_ne!(public, console);
    assert!(shown(port, CONSOLE, &root).await.is_err() && shown(staff, NAME, &root).await.is_err());
}

/// An authority that is not there, then is; and what stands at the port until then.
#[tokio::test]
#[ignore = "needs pebble: run tests/run"]
async fn without_an_authority_the_portal_stays_up_says_why_and_tries_on() {
    let log = Logged::here();
    let (port, directory) = (free_port(), free_port());
    let folder = Folder::new();
    let (ca_file, _) = authority::own_certificate(&folder);
    let mut app = TestApp::with_options(options()).await;
    fetches(&mut app, port, &table(directory, &ca_file)).await;
    until("it was tried again", async || figure(&app, "certificate_failures").await >= Some(3)).await;
    assert!(log.why().contains("Connection refused"), "{}", log.why());
    let first = &log.of("certificate_not_fetched")[0];
    assert_eq!(first["level"], "ERROR", "{first}");
    assert_eq!(figure(&app, "certificate_end_timestamp_seconds").await, None);

    // TLS is answered with an alert, and nothing else with anything but one.
    let why = shown(port, NAME, &std::fs::read_to_string(&ca_file).unwrap()).await.unwrap_err();
    assert!(why.contains("received fatal alert"), "{why}");
    let mut plain = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: drop\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said).await;
    assert!(!said.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&said));

    let pebble = Pebble::start(Wish {
        port: directory,
        ..Wish::that_verifies_at(port)
    })
    .await;
    // It is known by another certificate than was said: that is told, too.
    until("the connection is not believed", async || log.why().contains("certificate")).await;
    std::fs::copy(pebble.ca_file(), &ca_file).unwrap();
    until_shown(port, NAME, &pebble.root().await).await;
    assert_eq!(figure(&app, "certificate_failures").await, Some(0));
    assert_eq!(log.of("certificate_fetched").len(), 1);
}

#[tokio::test]
#[ignore = "needs pebble: run tests/run"]
async fn what_an_authority_refuses_is_told_in_its_own_words() {
    let log = Logged::here();
    let port = free_port();
    let mut app = TestApp::with_options(options()).await;
    let refused = Pebble::start(Wish {
        blocked: vec![NAME],
        ..Wish::that_verifies_at(port)
    })
    .await;
    fetches(&mut app, port, &table(refused.port, &refused.ca_file())).await;
    until("it refuses the name", async || log.why().contains("rejectedIdentifier")).await;
    drop(refused);

    // It never gets to the portal, as behind a firewall.
    let lost = Pebble::start(Wish::that_verifies_at(1)).await;
    fetches(&mut app, port, &table(lost.port, &lost.ca_file())).await;
    until("it says what it saw", async || {
        log.why().contains("could not verify that the name leads to this portal")
    })
    .await;
    assert!(log.why().contains("port 443"), "{}", log.why());
    drop(lost);

    // Whoever is no customer gets no account, and a customer does.
    let wish = Wish {
        customers_alone: true,
        ..Wish::that_verifies_at(port)
    };
    let bound = Pebble::start(wish).await;
    let acme = table(bound.port, &bound.ca_file());
    fetches(&mut app, port, &acme).await;
    until("it asks for a customer", async || log.why().contains("externalAccountRequired")).await;
    private(&app.folder.path().join("customer"), CUSTOMER.1);
    let acme = format!(
        "{acme}external_account_id = \"{}\"\nexternal_account_key_file = \"customer\"\n",
        CUSTOMER.0
    );
    fetches(&mut app, port, &acme).await;
    until_shown(port, NAME, &bound.root().await).await;

    // Nothing of a link, and no key, is in what was logged.
    let text = String::from_utf8(log.text.lock().unwrap().clone()).unwrap();
    assert!(!text.contains(CUSTOMER.1) && !text.contains("PRIVATE"));
}

#[tokio::test]
#[ignore = "needs pebble: run tests/run"]
async fn an_authority_that_asks_for_a_pause_gets_it_unless_somebody_says_otherwise() {
    let log = Logged::here();
    let port = free_port();
    let pebble = Pebble::start(Wish::that_verifies_at(port)).await;
    let front = Front::before(&pebble, Says::Maintenance).await;
    let mut app = TestApp::with_options(options()).await;
    let acme = table(front.port, &front.ca_file());
    fetches(&mut app, port, &acme).await;
    let pause = |event: &Value| event["fields"]["again_in_seconds"].as_u64().unwrap();
    until("it is told", async || !log.why().is_empty()).await;
    assert!(log.why().contains("it answered 503"), "{}", log.why());
    assert_eq!(pause(log.of("certificate_not_fetched").last().unwrap()), 1_800);

    front.says(Says::TooMany(90_000));
    app.restart().await;
    until("too many were ordered", async || log.why().contains("rateLimited")).await;
    assert!(log.why().contains("too many certificates already issued"), "{}", log.why());
    assert_eq!(pause(log.of("certificate_not_fetched").last().unwrap()), 90_000);
    assert_eq!((log.of("certificate_not_fetched").len(), front.orders()), (2, 1), "one try each");

    // Reading the configuration again is somebody who wants it now.
    front.says(Says::Everything);
    let text = app
        .text()
        .replace("public_url = \"http://127.0.0.1\"", &format!("public_url = \"https://{NAME}\""))
        + &acme;
    app.reload(&text).await.unwrap();
    until_shown(port, NAME, &pebble.root().await).await;
}

#[tokio::test]
#[ignore = "needs pebble: run tests/run"]
async fn an_authority_that_advises_to_renew_is_followed_and_told_what_is_replaced() {
    let log = Logged::here();
    let port = free_port();
    let pebble = Pebble::start(Wish::that_verifies_at(port)).await;
    let front = Front::before(&pebble, Says::Everything).await;
    let root = pebble.root().await;
    let mut app = TestApp::with_options(options()).await;
    fetches(&mut app, port, &table(front.port, &front.ca_file())).await;
    let first = until_shown(port, NAME, &root).await;
    front.says(Says::RenewTheFirst);
    app.restart().await;
    until("another certificate is shown", async || {
        shown(port, NAME, &root).await.is_ok_and(|now| now != first)
    })
    .await;
    assert_eq!(
        front.replaces().as_ref(),
        front.asked_about().first(),
        "it says which one this is instead of"
    );
    assert_eq!((front.orders(), log.of("certificate_not_fetched").len()), (2, 0));

    // The new one is left alone.
    app.restart().await;
    until("it was asked about the new one", async || front.asked_about().len() >= 2).await;
    assert_ne!(front.asked_about()[0], front.asked_about()[1]);
    assert_eq!(front.orders(), 2);
    assert!(!pebble.said().is_empty());
}
