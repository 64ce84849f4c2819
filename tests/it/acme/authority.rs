//! A certificate authority of each test's own: Pebble, the test server of Let's Encrypt, with a name server that says that every name is this machine. What it verifies, it verifies by
//! connecting.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use crate::support::{Folder, private, until};

/// A key that the authority knows a customer by.
pub const CUSTOMER: (&str, &str) = ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");

/// How the authority is.
pub struct Wish {
    /// Where it connects to when it verifies a name, as real ones connect to 443.
    pub verifies_at: u16,
    /// Its own port, where that is known before.
    pub port: u16,
    /// Seconds that a certificate is taken.
    pub validity: u64,
    /// It issues nothing for these.
    pub blocked: Vec<&'static str>,
    /// It makes accounts for its customers alone.
    pub customers_alone: bool,
}

impl Wish {
    pub fn that_verifies_at(port: u16) -> Self {
        Self {
            verifies_at: port,
            port: free_port(),
            validity: 3_600,
            blocked: Vec::new(),
            customers_alone: false,
        }
    }
}

pub struct Pebble {
    processes: Vec<Child>,
    folder: Folder,
    pub port: u16,
    management: u16,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A port that is free now, and that no outgoing connection is given in the meantime: those come from 32,768 on.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id() * 97 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(20_000 + number % 12_000).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Certificate, key, and both in files of a folder; a client believes the certificate itself.
pub fn own_certificate(folder: &Folder) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("own.pem"), folder.path().join("own.key"));
    private(&cert, &made.cert.pem());
    private(&key, &made.signing_key.serialize_pem());
    (cert, key)
}

impl Pebble {
    pub async fn start(wish: Wish) -> Self {
        nightdrop::testing::connectors::client::install_tls();
        let folder = Folder::new();
        let (cert, key) = own_certificate(&folder);
        let (management, names, control) = (free_port(), free_port(), free_port());
        let settings = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", wish.port),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": cert,
            "privateKey": key,
            "httpPort": 1,
            "tlsPort": wish.verifies_at,
            "ocspResponderURL": "",
            "certificateValidityPeriod": wish.validity,
            "domainBlocklist": wish.blocked,
            "externalAccountBindingRequired": wish.customers_alone,
            "externalAccountMACKeys": { CUSTOMER.0: CUSTOMER.1 },
        } });
        let file = folder.path().join("pebble.json");
        std::fs::write(&file, settings.to_string()).unwrap();
        let said = std::fs::File::create(folder.path().join("said")).unwrap();
        let names_at = format!("127.0.0.1:{names}");
        let start = |program: &str, arguments: &[&str]| {
            Command::new(program)
                .args(arguments)
                .env("PEBBLE_VA_NOSLEEP", "1")
                .stdin(Stdio::null())
                .stdout(said.try_clone().unwrap())
                .stderr(said.try_clone().unwrap())
                .spawn()
                .unwrap_or_else(|_| panic!("{program} cannot be run: run tests/run"))
        };
        let control = format!("127.0.0.1:{control}");
        let names = start(
            "pebble-challtestsrv",
            &[
                "-defaultIPv6",
                "",
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
                "-dns01",
                &names_at,
                "-management",
                &control,
            ],
        );
        let pebble = start("pebble", &["-config", file.to_str().unwrap(), "-dnsserver", &names_at]);
        let mut pebble = Self {
            processes: vec![names, pebble],
            folder,
            port: wish.port,
            management,
        };
        let http = pebble.http();
        until("the authority answers", async || {
            for process in &mut pebble.processes {
                if let Some(ended) = process.try_wait().unwrap() {
                    panic!("the authority ended: {ended}\n{}", pebble.folder.path().display());
                }
            }
            http.get(format!("https://localhost:{}/dir", pebble.port)).send().await.is_ok()
        })
        .await;
        pebble
    }

    /// The file with the authority that its own connections are known by.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("own.pem")
    }

    fn http(&self) -> reqwest::Client {
        reqwest::Client::builder()
            .no_proxy()
            .tls_danger_accept_invalid_certs(true)
            .build()
            .unwrap()
    }

    /// The root of what it issues, PEM.
    pub async fn root(&self) -> String {
        let url = format!("https://localhost:{}/roots/0", self.management);
        self.http().get(url).send().await.unwrap().text().await.unwrap()
    }

    /// What it has written about what it does.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("said")).unwrap_or_default()
    }
}
