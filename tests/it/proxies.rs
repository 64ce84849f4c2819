//! Real reverse proxies in front of a real portal, with the lines that the documentation prints.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::browser::script;
use crate::support::{Folder, Link, TestApp, TestOptions, form, png, private, sha256, until};

const HOST: &str = "drop.example.com";
const CONSOLE: &str = "console.example.com";
/// Those who work here, in the tests.
const COLLEAGUES: &str = "127.0.7.0/24";

/// The block of this kind in the documentation.
fn documented(kind: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations/reverse-proxy.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text
        .split_once(&format!("```{kind}\n"))
        .unwrap_or_else(|| panic!("no block of {kind}"));
    rest.split_once("```").unwrap().0.to_owned()
}

/// A proxy of its own for one test; it ends with its owner.
struct Proxy {
    process: Child,
    port: u16,
    folder: Folder,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

impl Proxy {
    /// Starts it with the documented lines: of these, only ports and paths are the test's own.
    async fn start(kind: &str, portal: SocketAddr, staff: SocketAddr) -> Self {
        let folder = Folder::new();
        let made = rcgen::generate_simple_self_signed(vec![HOST.to_owned(), CONSOLE.to_owned()]).unwrap();
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        private(&folder.path().join("fullchain.pem"), &cert);
        private(&folder.path().join("key.pem"), &key);
        private(&folder.path().join("both.pem"), &format!("{cert}{key}"));
        let (port, other) = (free_port(), free_port());
        let path = folder.path().display().to_string();
        let ours = |kind: &str| {
            documented(kind)
                .replace("127.0.0.1:8080", &portal.to_string())
                .replace("127.0.0.1:8081", &staff.to_string())
                .replace("10.0.0.0/8", COLLEAGUES)
                .replace("/etc/ssl/drop", &path)
                .replace("/etc/traefik", &path)
                .replace("/var/log/nginx", &path)
                .replace("listen 443", &format!("listen 127.0.0.1:{port}"))
                .replace("bind :443", &format!("bind 127.0.0.1:{port}"))
                .replace("address: \":443\"", &format!("address: \"127.0.0.1:{port}\""))
        };
        let file = folder.path().join("conf");
        let mut command = match kind {
            "nginx" => {
                let frame = format!(
                    "user root;\ndaemon off;\npid {path}/pid;\nerror_log {path}/error.log;\nevents {{}}\nhttp {{\naccess_log {path}/access.log;\n\
                     client_body_temp_path {path}/bodies;\nproxy_temp_path {path}/answers;\n{}\n}}\n",
                    ours(kind)
                );
                private(&file, &frame);
                let mut command = Command::new("nginx");
                command.args(["-p", &path, "-e", &format!("{path}/error.log"), "-c"]).arg(&file);
                command
            }
            "haproxy" => {
                private(&file, &ours(kind));
                let mut command = Command::new("haproxy");
                command.arg("-db").arg("-f").arg(&file);
                command
            }
            "traefik" => {
                let file = folder.path().join("traefik.yaml");
                private(&file, &ours("yaml static"));
                private(&folder.path().join("drop.yaml"), &ours("yaml dynamic"));
                let mut command = Command::new("traefik");
                command.arg(format!("--configfile={}", file.display())).env("HOME", &path);
                command
            }
            _ => {
                let options = format!(
                    "{{\nadmin off\nhttps_port {port}\nhttp_port {other}\nauto_https disable_redirects\nskip_install_trust\ndefault_bind 127.0.0.1\nstorage file_system {path}/caddy\n"
                );
                private(&file, &ours(kind).replacen("{\n", &options, 1));
                let mut command = Command::new("caddy");
                command
                    .args(["run", "--adapter", "caddyfile", "--config"])
                    .arg(&file)
                    .env("HOME", &path);
                command
            }
        };
        // Debian keeps servers where only root looks.
        let search = format!("{}:/usr/sbin", std::env::var("PATH").unwrap());
        let said = std::fs::File::create(folder.path().join("said")).unwrap();
        let process = command
            .env("PATH", search)
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn()
            .unwrap_or_else(|_| panic!("{kind} cannot be run: run tests/run"));
        let mut proxy = Self { process, port, folder };
        until(kind, async || {
            if let Some(ended) = proxy.process.try_wait().unwrap() {
                panic!("{kind} ended: {ended}\n{}", proxy.said());
            }
            proxy.curl("127.0.0.1", "/healthz", &[]).0 == "200" && proxy.curl_at(CONSOLE, "127.0.7.9", "/healthz", &[]).0 == "200"
        })
        .await;
        proxy
    }

    fn said(&self) -> String {
        let read = |name| std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        ["said", "error.log", "drop-error.log", "drop.log"].map(read).concat()
    }

    /// Asks by HTTP/2, as browsers do, from an address of this machine. Returns the status and the answer's head.
    fn curl(&self, from: &str, path: &str, more: &[&str]) -> (String, String) {
        self.curl_at(HOST, from, path, more)
    }

    fn curl_at(&self, host: &str, from: &str, path: &str, more: &[&str]) -> (String, String) {
        let said = Command::new("curl")
            .args(["--silent", "--http2", "--noproxy", "*", "--cacert"])
            .arg(self.folder.path().join("fullchain.pem"))
            .args(["--resolve", &format!("{host}:{}:127.0.0.1", self.port), "--interface", from])
            .args(["--dump-header", "-", "--output", "/dev/null", "--write-out", "%{http_code}"])
            .args(more)
            .arg(format!("https://{host}:{}{path}", self.port))
            .output()
            .expect("curl cannot be run: run tests/run");
        let text = String::from_utf8_lossy(&said.stdout).to_lowercase();
        let (head, status) = text.rsplit_once('\n').map_or(("", text.as_str()), |(head, status)| (head, status));
        (status.to_owned(), head.to_owned())
    }

    /// A client that goes through the proxy under the public name.
    fn client(&self) -> reqwest::Client {
        reqwest::Client::builder()
            .no_proxy()
            .resolve(HOST, SocketAddr::from(([127, 0, 0, 1], self.port)))
            .tls_danger_accept_invalid_certs(true)
            .build()
            .unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("https://{HOST}:{}{path}", self.port)
    }
}

async fn stands_behind(kind: &str) {
    let mut app = TestApp::with_options(TestOptions {
        more: "trusted_proxies = [\"127.0.0.1\"]\n[limits]\npages_per_address = 6\n".to_owned(),
        ..TestOptions::default()
    })
    .await;
    app.restart_as(|config| {
        config.public_url = format!("https://{HOST}");
        config.staff_url = Some(format!("https://{CONSOLE}"));
    })
    .await;
    let running = app.running.as_ref().unwrap();
    let proxy = Proxy::start(kind, running.public, running.staff).await;
    let link = app.link_for("passport", None).await;

    // The page, by HTTP/2, as the portal made it: packed by the portal for who takes it, and by nobody else for who does not.
    let (status, head) = proxy.curl("127.0.6.1", &link.path, &["--header", "Accept-Encoding: gzip"]);
    assert!(status == "200" && head.starts_with("http/2 200"), "{kind}: {head}");
    assert!(
        head.contains("cache-control: no-store") && head.contains("content-encoding: gzip"),
        "{kind}: {head}"
    );
    assert!(head.contains("set-cookie: __host-r=") && head.contains("secure"), "{kind}: {head}");
    let (status, head) = proxy.curl("127.0.6.1", &link.path, &[]);
    assert!(status == "200" && !head.contains("content-encoding"), "{kind}: {head}");
    let (status, head) = proxy.curl("127.0.6.1", &link.path, &["--head"]);
    assert!(status == "200" && head.contains("content-length"), "{kind}: {head}");

    // Limits count the client, whatever it says of itself.
    for (n, wanted) in (0..5).zip(["200", "200", "200", "429", "429"]) {
        let invented = [
            "--header".to_owned(),
            format!("X-Forwarded-For: 203.0.113.{n}"),
            "--header".to_owned(),
            format!("Forwarded: for=203.0.113.{n}"),
        ];
        let invented: Vec<&str> = invented.iter().map(String::as_str).collect();
        assert_eq!(proxy.curl("127.0.6.1", &link.path, &invented).0, wanted, "{kind}: page {n}");
    }
    assert_eq!(
        proxy.curl("127.0.6.2", &link.path, &[]).0,
        "200",
        "{kind}: another client has its own"
    );

    // The form, of a page that a browser shows under the public name, which here has a port that it would not have.
    let large = png(1, 15_000_000);
    let photo = proxy.folder.path().join("photo.png");
    std::fs::write(&photo, &large).unwrap();
    let field = format!("front=@{};type=image/png", photo.display());
    for (origin, wanted) in [("https://evil.example", "403"), ("https://drop.example.com", "200")] {
        let origin = format!("Origin: {origin}");
        let (status, head) = proxy.curl("127.0.6.3", &link.path, &["--form", &field, "--header", &origin]);
        assert_eq!(status, wanted, "{kind}: {head}{}", proxy.said());
    }

    let second = unbuffered(&app, &proxy, kind).await;
    let third = resumes(&app, &proxy, kind).await;
    let browsed = app.link_for("passport", None).await;
    let fourth = from_a_browser(&browsed, &proxy, kind).await;
    app.work().await;
    let mut arrived: Vec<String> = app.has("applicant-1").await.into_iter().map(|(sha, _)| sha).collect();
    let mut sent = vec![sha256(&large), second, third, fourth];
    arrived.sort();
    sent.sort();
    assert_eq!(arrived, sent, "{kind}");

    let invitation = console(&proxy, kind);
    // A portal that is away is an error, and errors are logged by themselves.
    app.stop().await;
    let (status, _) = proxy.curl("127.0.6.4", &link.path, &[]);
    assert!(["502", "503", "504"].contains(&status.as_str()), "{kind}: {status}");
    let written: Vec<u8> = crate::support::walk(proxy.folder.path())
        .into_iter()
        .filter(|file| file.file_name().is_none_or(|name| name != "photo.png"))
        .flat_map(|file| std::fs::read(file).unwrap())
        .collect();
    for secret in [&link.token, &browsed.token, &invitation] {
        assert!(
            !holds(&written, secret.as_bytes()),
            "nothing that {kind} wrote tells a link: {}",
            proxy.said()
        );
    }
    let logged: &[u8] = if kind == "traefik" {
        b"\"RequestMethod\":\"PATCH\""
    } else {
        b"/d/-"
    };
    assert!(holds(&written, logged), "{kind} keeps a log: {}", proxy.said());
}

/// A photo of 20 MB, as somebody sends it.
async fn from_a_browser(link: &Link, proxy: &Proxy, kind: &str) -> String {
    let photo = png(4, 20_400_000);
    let file = proxy.folder.path().join("photo.png");
    std::fs::write(&file, &photo).unwrap();
    let given = json!({ "kind": kind, "port": proxy.port, "photo": file, "link": format!("https://{HOST}{}", link.path) });
    tokio::task::spawn_blocking(move || script("proxied.mjs", &given)).await.unwrap();
    sha256(&photo)
}

/// The console is under its own name, and there for those who work here. Returns what stood in the path of an invitation.
fn console(proxy: &Proxy, kind: &str) -> String {
    let (status, head) = proxy.curl_at(CONSOLE, "127.0.7.1", "/sign-in", &[]);
    assert!(
        status == "200" && head.contains("cache-control: no-store"),
        "{kind}: {status} {head}"
    );
    assert_eq!(proxy.curl_at(CONSOLE, "127.0.6.1", "/sign-in", &[]).0, "403", "{kind}: strangers");
    assert_eq!(
        proxy.curl("127.0.7.1", "/sign-in", &[]).0,
        "404",
        "{kind}: the applicants' name has no console"
    );
    assert_eq!(
        proxy.curl_at(CONSOLE, "127.0.7.1", "/d/x", &[]).0,
        "404",
        "{kind}: the console has no links"
    );
    // Forms are believed from their own page alone, whose address has no port that only a test has.
    for (origin, refused) in [("https://evil.example", true), ("https://console.example.com", false)] {
        let origin = format!("Origin: {origin}");
        let fields = [
            "--data",
            "email=nobody%40example.com&password=wrong-password-of-nobody",
            "--header",
            &origin,
        ];
        let (status, head) = proxy.curl_at(CONSOLE, "127.0.7.1", "/sign-in", &fields);
        assert_eq!(status == "403", refused, "{kind}: {status} {head}");
    }
    let secret = "inviTation0000000000000000000000secret";
    let path = format!("/invitation/{}/{secret}", "0".repeat(32));
    assert!(proxy.curl_at(CONSOLE, "127.0.7.1", &path, &[]).0.starts_with('4'), "{kind}");
    secret.to_owned()
}

fn holds(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|window| window == what)
}

/// The first half of a form is at the portal before the second is sent.
async fn unbuffered(app: &TestApp, proxy: &Proxy, kind: &str) -> String {
    let link = app.link_for("passport", None).await;
    let photo = png(2, 3_000_000);
    let (body, media_type) = form(&[("front", &photo)]);
    let (first, rest) = body.split_at(body.len() / 2);
    let (first, rest) = (first.to_vec(), rest.to_vec());
    let (go, may_go) = tokio::sync::oneshot::channel::<()>();
    let pieces = futures_util::stream::unfold((Some(first), Some((may_go, rest))), |(first, then)| async {
        if let Some(first) = first {
            return Some((Ok::<_, std::io::Error>(first), (None, then)));
        }
        let (may_go, rest) = then?;
        may_go.await.ok()?;
        Some((Ok(rest), (None, None)))
    });
    // Of no length that is known before: such a form is chunked.
    let sending = proxy
        .client()
        .post(proxy.url(&link.path))
        .header("content-type", media_type)
        .body(reqwest::Body::wrap_stream(pieces))
        .send();
    let before = app.portal.blobs.documents().await.unwrap().len();
    let sending = tokio::spawn(sending);
    until("the first half is at the portal", async || {
        assert!(!sending.is_finished(), "{kind} answered before all was sent: {}", proxy.said());
        app.portal.blobs.documents().await.unwrap().len() > before
    })
    .await;
    assert_eq!(
        waiting(proxy.folder.path()),
        Vec::<PathBuf>::new(),
        "{kind} keeps bodies on the disk"
    );
    go.send(()).unwrap();
    assert_eq!(sending.await.unwrap().unwrap().status(), 200, "{kind}");
    sha256(&photo)
}

/// Bodies that the proxy has put aside.
fn waiting(folder: &Path) -> Vec<PathBuf> {
    let put_aside = |path: &PathBuf| path.parent().is_some_and(|parent| parent.ends_with("bodies"));
    crate::support::walk(folder).into_iter().filter(put_aside).collect()
}

/// A resumable upload in two halves, with every method of the protocol.
async fn resumes(app: &TestApp, proxy: &Proxy, kind: &str) -> String {
    let link = app.link_for("passport", None).await;
    let photo = png(3, 1_000_000);
    let http = proxy.client();
    let part = proxy.url(&format!("{}/parts/front", link.path));
    let ask = |method: &str| {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        http.request(method, &part).header("Tus-Resumable", "1.0.0")
    };
    assert_eq!(ask("OPTIONS").send().await.unwrap().status(), 204, "{kind}");
    let begun = ask("POST").header("Upload-Length", photo.len()).send().await.unwrap();
    assert_eq!(begun.status(), 201, "{kind}");
    let location = begun.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.starts_with(&format!("{}/parts/front?u=", link.path)), "{kind}: {location}");
    assert_eq!(ask("DELETE").send().await.unwrap().status(), 204, "{kind}");
    assert_eq!(
        ask("POST").header("Upload-Length", photo.len()).send().await.unwrap().status(),
        201,
        "{kind}"
    );
    for (at, to) in [(0, 400_000), (400_000, photo.len())] {
        let head = ask("HEAD").send().await.unwrap();
        assert_eq!(head.headers()["upload-offset"], at.to_string(), "{kind}");
        let sent = ask("PATCH")
            .header("Upload-Offset", at)
            .header("Content-Type", "application/offset+octet-stream")
            .body(photo[at..to].to_vec())
            .send()
            .await
            .unwrap();
        assert_eq!(
            (sent.status().as_u16(), &sent.headers()["upload-offset"]),
            (204, &to.to_string().parse().unwrap()),
            "{kind}"
        );
    }
    sha256(&photo)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx, curl, Chromium and playwright-core: run tests/run"]
async fn nginx_as_documented_stands_before_the_portal() {
    stands_behind("nginx").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs haproxy, curl, Chromium and playwright-core: run tests/run"]
async fn haproxy_as_documented_stands_before_the_portal() {
    stands_behind("haproxy").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs caddy, curl, Chromium and playwright-core: run tests/run"]
async fn caddy_as_documented_stands_before_the_portal() {
    stands_behind("caddy").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs traefik, curl, Chromium and playwright-core: run tests/run"]
async fn traefik_as_documented_stands_before_the_portal() {
    stands_behind("traefik").await;
}
