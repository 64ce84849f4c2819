//! `nightdrop doctor` of a running portal: through a real nginx with the documented lines and with each bad one, certificates, and whom the portal speaks to.

use std::net::{SocketAddr, TcpListener};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const HOST: &str = "drop.example.com";
const TRUSTED: &str = "trusted_proxies = [\"127.0.0.1\"]\n[limits]\nmax_file = \"6MiB\"\n";
/// As short as a test can be.
const SOON: &[&str] = &["--over", "2"];

/// The lines for nginx that the documentation prints.
fn documented() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations/reverse-proxy.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once("```nginx\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// A certificate chain and its key as PEM.
struct Pair {
    chain: String,
    key: String,
}

impl Pair {
    fn self_signed(name: &str, days: i64) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = OffsetDateTime::now_utc() + Duration::days(days);
        Self {
            chain: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// An nginx before the portal; it ends with its owner.
struct Nginx {
    process: Child,
    port: u16,
    folder: Folder,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Nginx {
    /// The documented lines, of which some are changed.
    async fn start(portal: SocketAddr, pair: &Pair, changes: &[(&str, &str)]) -> Self {
        let folder = Folder::new();
        private(&folder.path().join("fullchain.pem"), &pair.chain);
        private(&folder.path().join("key.pem"), &pair.key);
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let path = folder.path().display().to_string();
        let mut lines = documented();
        for (from, to) in changes {
            assert!(lines.contains(from), "{from}");
            lines = lines.replace(from, to);
        }
        let lines = lines
            .replace("127.0.0.1:8080", &portal.to_string())
            .replace("/etc/ssl/drop", &path)
            .replace("listen 443", &format!("listen 127.0.0.1:{port}"));
        private(
            &folder.path().join("conf"),
            &format!(
                "user root;\ndaemon off;\nmaster_process off;\npid {path}/pid;\nerror_log {path}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\n\
                 client_body_temp_path {path}/bodies;\nproxy_temp_path {path}/answers;\n{lines}\n}}\n"
            ),
        );
        // Debian keeps servers where only root looks.
        let search = format!("{}:/usr/sbin", std::env::var("PATH").unwrap());
        let process = Command::new("nginx")
            .args(["-p", &path, "-e", &format!("{path}/error.log"), "-c", &format!("{path}/conf")])
            .env("PATH", search)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx cannot be run: run tests/run");
        let mut nginx = Self { process, port, folder };
        support::until("nginx", async || {
            if let Some(ended) = nginx.process.try_wait().unwrap() {
                let said = std::fs::read_to_string(nginx.folder.path().join("error.log")).unwrap_or_default();
                panic!("nginx ended: {ended}\n{said}");
            }
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        nginx
    }

    /// What the doctor finds through it.
    fn found(&self, app: &TestApp, more: &[&str]) -> Value {
        let authorities = self.folder.path().join("fullchain.pem");
        let mut command = doctor(app, &["--through"]);
        command.args(["--resolve", &format!("127.0.0.1:{}", self.port), "--ca-file"]);
        command.arg(authorities).args(more);
        said(command)
    }
}

/// The doctor beside a running portal of the tests.
fn doctor(app: &TestApp, more: &[&str]) -> Command {
    let config = app.folder.path().join("nightdrop.toml");
    private(&config, app.text());
    let mut command = nightdrop(&["doctor", "--json", "--config"]);
    let running = app.running.as_ref().unwrap();
    command
        .arg(config)
        .args(more)
        .env("NIGHTDROP_PUBLIC_URL", format!("https://{HOST}"))
        .env("NIGHTDROP_LISTEN_PUBLIC", running.public.to_string())
        .env("NIGHTDROP_LISTEN_STAFF", running.staff.to_string());
    command
}

/// Its findings, whatever it thinks of them.
fn said(mut command: Command) -> Value {
    let output = tokio::task::block_in_place(|| command.output()).unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", complaint(&output));
    let found = json(&out(&output));
    let ok = found["ok"].as_bool().unwrap();
    assert_eq!(output.status.code(), Some(if ok { 0 } else { 1 }));
    found
}

/// The codes of what is no good news in one part of the list.
fn codes<'a>(found: &'a Value, part: &str) -> Vec<&'a str> {
    let all = found["findings"].as_array().unwrap().iter();
    all.filter_map(|f| f["code"].as_str())
        .filter(|code| code.starts_with(part))
        .collect()
}

fn finding<'a>(found: &'a Value, code: &str) -> &'a Value {
    let all = found["findings"].as_array().unwrap();
    all.iter()
        .find(|f| f["code"] == code)
        .unwrap_or_else(|| panic!("no {code}: {found:#}"))
}

async fn portal(more: &str) -> TestApp {
    TestApp::with_options(TestOptions {
        more: more.to_owned(),
        ..TestOptions::default()
    })
    .await
}

fn public(app: &TestApp) -> SocketAddr {
    app.running.as_ref().unwrap().public
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx: run tests/run"]
async fn the_documented_proxy_is_found_good_and_each_bad_line_is_named() {
    let app = portal(TRUSTED).await;
    let pair = Pair::self_signed(HOST, 60);
    let before = app.portal.audit.entries(0, 1_000).await.unwrap().len();
    let good = Nginx::start(public(&app), &pair, &[]).await;
    let found = good.found(&app, SOON);
    assert_eq!(codes(&found, "through."), [""; 0], "{found:#}");
    let all = found["findings"].to_string();
    assert!(
        all.contains("arrived as they were sent") && all.contains("believes no forged one"),
        "{found:#}"
    );
    assert!(app.portal.blobs.documents().await.unwrap().is_empty(), "nothing of it is kept");
    assert_eq!(
        app.portal.audit.entries(0, 1_000).await.unwrap().len(),
        before,
        "nothing is written"
    );

    let name_line = "proxy_set_header X-Forwarded-For $remote_addr;";
    let pass_line = "proxy_pass http://127.0.0.1:8080;";
    let nobody = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let to_nobody = format!("proxy_pass http://{nobody};");
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a [&'a str]);
    let rows: &[Row<'_>] = &[
        (
            &[("proxy_request_buffering off;", "proxy_request_buffering on;")],
            // Time enough for a busy machine to pass on at once what was kept.
            &["--over", "8"],
            &["through.buffered"],
        ),
        (
            &[("client_max_body_size 0;", "client_max_body_size 1m;")],
            SOON,
            &["through.body_limit"],
        ),
        (&[(name_line, "")], SOON, &["through.forged_address", "through.no_client_address"]),
        (
            &[(name_line, "proxy_set_header X-Forwarded-For \"\";")],
            SOON,
            &["through.no_client_address"],
        ),
        (
            &[
                (name_line, "proxy_set_header X-Forwarded-For \"\";"),
                ("proxy_set_header Forwarded \"\";", "proxy_set_header Forwarded for=$remote_addr;"),
            ],
            SOON,
            &["through.other_header"],
        ),
        (
            &[(pass_line, "return 301 https://elsewhere.example.com$request_uri;")],
            SOON,
            &["through.redirect"],
        ),
        (&[(pass_line, "return 200 hello;")], SOON, &["through.stranger"]),
        (&[(pass_line, to_nobody.as_str())], SOON, &["through.gateway"]),
        (
            &[("proxy_set_header Host $host;", "proxy_set_header Host inside;")],
            SOON,
            &["through.host"],
        ),
        (
            &[("proxy_cache off;", "proxy_hide_header Strict-Transport-Security;")],
            SOON,
            &["through.headers"],
        ),
        (
            &[(
                "gzip off;",
                "gzip on; gzip_types application/json; gzip_min_length 1; gzip_proxied any;",
            )],
            SOON,
            &["through.packed"],
        ),
        (
            &[("proxy_cache off;", "limit_except GET POST { deny all; }")],
            SOON,
            &["through.methods"],
        ),
        (
            &[("client_body_timeout 60s;", "client_body_timeout 1s;")],
            &["--over", "2", "--pause", "4"],
            &["through.cut_off"],
        ),
    ];
    for (changes, more, wanted) in rows {
        let nginx = Nginx::start(public(&app), &pair, changes).await;
        let found = nginx.found(&app, more);
        assert_eq!(codes(&found, "through."), *wanted, "{changes:?}: {found:#}");
        for code in *wanted {
            let fix = finding(&found, code)["fix"].as_str().unwrap();
            assert!(!fix.is_empty(), "{code}");
        }
    }
    let old = Nginx::start(public(&app), &pair, &[("proxy_http_version 1.1;", "proxy_http_version 1.0;")]).await;
    assert!(codes(&old.found(&app, SOON), "through.").contains(&"through.protocol"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx: run tests/run"]
async fn a_proxy_that_nobody_has_told_the_portal_of_is_named() {
    let app = portal("").await;
    let nginx = Nginx::start(public(&app), &Pair::self_signed(HOST, 60), &[]).await;
    let found = nginx.found(&app, SOON);
    assert_eq!(codes(&found, "through."), ["through.untrusted_proxy"], "{found:#}");
    let fix = finding(&found, "through.untrusted_proxy")["fix"].as_str().unwrap();
    assert!(fix.contains("trusted_proxies = [\"127.0.0.1\"]"), "{fix}");
}

/// A root, an authority between, and a certificate of that.
fn three() -> (String, String, Pair) {
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params
    };
    let (root_key, middle_key, key) = (
        KeyPair::generate().unwrap(),
        KeyPair::generate().unwrap(),
        KeyPair::generate().unwrap(),
    );
    let root = authority("the root");
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let by_root = Issuer::new(root, root_key);
    let middle = authority("between");
    let middle_pem = middle.signed_by(&middle_key, &by_root).unwrap().pem();
    let by_middle = Issuer::new(middle, middle_key);
    let mut params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    params.not_after = OffsetDateTime::now_utc() + Duration::days(60);
    let own = params.signed_by(&key, &by_middle).unwrap().pem();
    (
        root_pem,
        middle_pem,
        Pair {
            chain: own,
            key: key.serialize_pem(),
        },
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx: run tests/run"]
async fn certificates_that_phones_refuse_are_named_by_their_fault() {
    let app = portal(TRUSTED).await;
    let through = async |pair: &Pair, authorities: Option<&str>| {
        let nginx = Nginx::start(public(&app), pair, &[]).await;
        let mut command = doctor(&app, &["--through", "--over", "1"]);
        command.args(["--resolve", &format!("127.0.0.1:{}", nginx.port)]);
        if let Some(pem) = authorities {
            let file = nginx.folder.path().join("authorities.pem");
            private(&file, pem);
            command.arg("--ca-file").arg(file);
        }
        let found = said(command);
        codes(&found, "through.").into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let (root, middle, own) = three();
    assert_eq!(through(&own, Some(&root)).await, ["through.chain"], "the one between is missing");
    let whole = Pair {
        chain: format!("{}{middle}", own.chain),
        key: own.key.clone(),
    };
    assert_eq!(through(&whole, Some(&root)).await, [""; 0]);
    let other = Pair::self_signed("other.example.com", 60);
    assert_eq!(through(&other, Some(&other.chain)).await, ["through.certificate"], "another name");
    let strange = Pair::self_signed(HOST, 60);
    assert_eq!(
        through(&strange, Some(&root)).await,
        ["through.certificate"],
        "an unknown authority"
    );
    let ending = Pair::self_signed(HOST, 20);
    assert_eq!(through(&ending, Some(&ending.chain)).await, ["through.certificate_ends"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_test_uploads_is_nobodys_without_a_pass() {
    let app = TestApp::new().await;
    for method in ["GET", "POST", "PATCH", "HEAD"] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let asked = app.http.request(method, app.public("/d/check"));
        let answer = asked.bearer_auth("00".repeat(56)).send().await.unwrap();
        assert_eq!(answer.status(), 404, "as any link that nobody has");
        assert!(!answer.headers().contains_key("nightdrop-check"));
    }
    let asked = app.http.get(app.staff("/check")).bearer_auth("00".repeat(56));
    assert_eq!(asked.send().await.unwrap().status(), 401);
    // It counts as a guess like any other.
    let mut last = 0;
    for _ in 0..8 {
        last = app.http.post(app.public("/d/check")).send().await.unwrap().status().as_u16();
    }
    assert_eq!(last, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_portal_says_how_it_stands() {
    let (options, clock) = TestOptions::default().with_clock();
    let mut app = TestApp::with_options(options).await;
    let found = said(doctor(&app, &[]));
    let texts = found["findings"].to_string();
    assert!(texts.contains("the running portal may open"), "{found:#}");
    assert!(texts.contains("the running portal goes by the same time"), "{found:#}");
    assert_eq!(codes(&found, "portal."), [""; 0], "{found:#}");

    // A provider is taken away while a request waits for it.
    app.link().await;
    let without = app.text().replace("[providers.sandbox]", "[providers.other]");
    app.reload(&without).await.unwrap();
    let found = said(doctor(&app, &[]));
    let gone = finding(&found, "providers.gone");
    assert!(
        gone["text"].as_str().unwrap().starts_with("1 request(s) wait for sandbox"),
        "{gone}"
    );
    assert!(
        gone["fix"].as_str().unwrap().contains("systemctl kill --signal=HUP nightdrop"),
        "{gone}"
    );

    clock.jump(Duration::minutes(10));
    // The clock is looked at when something is asked of it.
    app.portal.now();
    let found = said(doctor(&app, &[]));
    let jumped = finding(&found, "clock.jumped");
    assert!(jumped["text"].as_str().unwrap().contains("ahead"), "{jumped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_shows_another_certificate_than_its_file_is_found() {
    let mut app = TestApp::new().await;
    let pair = Pair::self_signed(HOST, 60);
    app.speak_tls(&pair.chain, &pair.key).await;
    let (cert, key) = (app.folder.path().join("cert.pem"), app.folder.path().join("key.pem"));
    let found = |cert: &Path, key: &Path| {
        let mut command = doctor(&app, &[]);
        command.env("NIGHTDROP_LISTEN_PUBLIC_TLS_CERT", cert);
        command.env("NIGHTDROP_LISTEN_PUBLIC_TLS_KEY", key);
        said(command)
    };
    let good = found(&cert, &key);
    assert_eq!(codes(&good, "certificate."), [""; 0], "{good:#}");
    assert!(good["findings"].to_string().contains("shows the certificate in"), "{good:#}");
    // Files that the running portal has not been told of, for a name that is not the portal's.
    let other = Pair::self_signed("other.example.com", 60);
    let (cert, key) = (app.folder.path().join("new.pem"), app.folder.path().join("new-key.pem"));
    private(&cert, &other.chain);
    private(&key, &other.key);
    assert_eq!(
        codes(&found(&cert, &key), "certificate."),
        ["certificate.name", "certificate.stale"]
    );
}

/// Answers one connection after the other: it says `hello` at once, and `reply` to whatever comes.
async fn speaker(hello: &'static str, reply: &'static str) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = socket.write_all(hello.as_bytes()).await;
                let mut bytes = [0; 4096];
                while socket.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                    let _ = socket.write_all(reply.as_bytes()).await;
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn those_whom_the_portal_speaks_to_are_reached_and_told_nothing() {
    let made = Made::new(&[]);
    let text = std::fs::read_to_string(&made.config).unwrap();
    private(&made.path("secret"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let secret = made.path("secret");
    let secret = secret.to_str().unwrap();
    // No STARTTLS is offered; a provider calls itself otherwise; a receiver shows a certificate of nobody, and one is not allowed.
    let mail = speaker("220 mail\r\n", "250 mail\r\n").await;
    let issuer = speaker(
        "",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 37\r\n\r\n{\"issuer\":\"https://sso.example.org/\"}",
    )
    .await;
    let receiver = made.serve_tls_receiver();
    std::fs::write(
        &made.config,
        format!(
            "{text}\n[mail]\nfrom = \"a@bank.example\"\nhost = \"localhost\"\nport = {}\n\n[sso]\nissuer = \"http://{issuer}\"\nclient_id = \"x\"\n\n\
             [webhooks.strange]\nurl = \"https://localhost:{receiver}/hook\"\nsecret_file = \"{secret}\"\nallow_private = true\n\n\
             [webhooks.inside]\nurl = \"https://localhost:{receiver}/hook\"\nsecret_file = \"{secret}\"\n",
            mail.port()
        ),
    )
    .unwrap();
    let found = said(made.with_config(&["doctor", "--json"]));
    let of = |code: &str| finding(&found, code)["text"].as_str().unwrap().to_owned();
    assert!(of("mail.server").contains("STARTTLS"), "{}", of("mail.server"));
    assert!(
        of("sso.issuer").contains("it calls itself \"https://sso.example.org/\""),
        "{}",
        of("sso.issuer")
    );
    let hooks: Vec<String> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["code"] == "webhooks.unreached")
        .map(|f| f["text"].as_str().unwrap().to_owned())
        .collect();
    assert!(hooks.iter().any(|t| t.contains("inside") && t.contains("not allowed")), "{hooks:?}");
    assert!(
        hooks
            .iter()
            .any(|t| t.contains("strange") && t.contains("no authority that is known")),
        "{hooks:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_fault_in_each_section_is_told_in_one_list_before_anything_is_opened() {
    let made = Made::new(&[]);
    let text = std::fs::read_to_string(&made.config).unwrap();
    let text = text
        .replace("http://127.0.0.1:8080", "http://drop.example.com")
        .replace("av = \"off\"", "av = \"required\"\nclamd = \"clamd\"");
    std::fs::write(
        &made.config,
        format!(
            "{text}\n[providers.x]\nkind = \"stripes\"\n\n[mail]\nfrom = \"a@bank.example\"\nhost = \"mail.example.com\"\ntls = \"none\"\n\n\
             [webhooks.desk]\nurl = \"http://desk.example.com\"\nkind = \"slack\"\n\n[sso]\nclient_id = \"x\"\n"
        ),
    )
    .unwrap();
    let keys = [
        "public_url",
        "providers.x.kind",
        "mail.tls",
        "webhooks.desk.url",
        "sso.issuer",
        "scan.clamd",
    ];
    // A port that somebody else holds would be told first, if it were asked for first.
    let held = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let said_by_serve = fails(
        made.with_config(&["serve"])
            .env("NIGHTDROP_LISTEN_PUBLIC", held.local_addr().unwrap().to_string()),
    );
    for key in keys {
        assert!(said_by_serve.contains(&format!("\n  {key}: ")), "{key}\n{said_by_serve}");
    }
    let found = said(made.with_config(&["doctor", "--json"]));
    let told: Vec<&str> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["code"] == "configuration.fault")
        .map(|f| f["text"].as_str().unwrap())
        .collect();
    for key in keys {
        assert!(told.contains(&key), "{key}\n{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_nothing_keeps_right_is_noticed() {
    let made = Made::new(&[]);
    let programs = made.path("bin");
    std::fs::create_dir(&programs).unwrap();
    for (answer, code) in [("no", Some("clock.unsynchronised")), ("yes", None)] {
        let program = programs.join("timedatectl");
        std::fs::write(&program, format!("#!/bin/sh\necho {answer}\n")).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = made.with_config(&["doctor", "--json"]);
        command.env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
        assert_eq!(codes(&said(command), "clock.").first().copied(), code, "{answer}");
    }
}

impl Made {
    /// A port that speaks TLS under a certificate that nobody knows, and nothing more.
    fn serve_tls_receiver(&self) -> u16 {
        let pair = Pair::self_signed("localhost", 60);
        let chain = rustls_pki_types::pem::PemObject::from_pem_slice(pair.chain.as_bytes()).unwrap();
        let key = rustls_pki_types::pem::PemObject::from_pem_slice(pair.key.as_bytes()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move { acceptor.accept(socket).await.map(drop) });
            }
        });
        port
    }
}
