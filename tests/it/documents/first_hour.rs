//! The first hour as it is written: its lines are run by a shell, one after the other, against the built program in an empty folder. Ports, pasted keys, the link and the request's
//! id are this run's; something on this machine stands in Stripe's place.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::{Block, blocks, read, root};
use crate::support::Folder;

/// What an operator would have copied from the provider's dashboard.
const TEST_KEY: &str = "sk_test_hour";

/// One reader of the first hour.
struct Reader {
    folder: Folder,
    ports: [u16; 2],
    stripe: u16,
    /// Lines that count in every later block too: where one stands, and what was exported.
    standing: Vec<String>,
    api_key: String,
    link: String,
    request: String,
    portal: Option<Child>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(portal) = &mut self.portal {
            let _ = portal.kill();
            let _ = portal.wait();
        }
    }
}

fn free_ports() -> [u16; 2] {
    let listeners = [(), ()].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Answers the doctor's one question as Stripe does, for whoever has the test key.
fn stripe() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream).unwrap_or_default()));
    port
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            length => head.extend_from_slice(&piece[..length]),
        }
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let is_right = head.starts_with("get /v1/account ") && head.contains(&format!("authorization: bearer {TEST_KEY}\r\n"));
    let (status, body) = if is_right {
        ("200 OK", r#"{"id": "acct_1"}"#)
    } else {
        ("401 Unauthorized", "{}")
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

impl Reader {
    fn new() -> Self {
        let folder = Folder::new();
        std::fs::copy(root().join("assets/demo/id-front.jpg"), folder.path().join("photo.jpg")).unwrap();
        Self {
            folder,
            ports: free_ports(),
            stripe: stripe(),
            standing: Vec::new(),
            api_key: String::new(),
            link: String::new(),
            request: String::new(),
            portal: None,
        }
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("drop/nightdrop.toml")
    }

    /// The text with what is this reader's own.
    fn own(&self, text: &str) -> String {
        let [public, staff] = self.ports.map(|port| port.to_string());
        let text = text.replace("8443", &public).replace("8081", &staff);
        let mut own = String::new();
        for word in text.split_inclusive([' ', '\n']) {
            let (bare, space) = word.split_at(word.trim_end().len());
            own.push_str(match bare {
                "LINK" => &self.link,
                "ID" => &self.request,
                other => other,
            });
            own.push_str(space);
        }
        own
    }

    fn shell(&self, text: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_nightdrop")).parent().unwrap();
        let mut shell = Command::new("sh");
        let lines = self.standing.iter().map(String::as_str).chain([text]).collect::<Vec<_>>();
        shell
            .args(["-euc", &lines.join("\n")])
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", program.display()))
            // Whatever the machine that the tests run on is like.
            .env("NIGHTDROP_ACCEPT_VOLATILE_DATA", "true")
            .env("NIGHTDROP_ACCEPT_READABLE_SWAP", "true")
            .env("NIGHTDROP_ERASURE_ACCEPT_WEAK", "true");
        if std::fs::read_to_string(self.configuration()).is_ok_and(|text| text.contains("[providers.stripe]\nkind")) {
            shell
                .env("NIGHTDROP_PROVIDERS_STRIPE_BASE_URL", format!("http://127.0.0.1:{}", self.stripe))
                .env("NIGHTDROP_PROVIDERS_STRIPE_ALLOW_INSECURE", "true")
                .env("NIGHTDROP_PROVIDERS_STRIPE_ALLOW_PRIVATE", "true");
        }
        shell
    }

    fn run(&self, text: &str, pasted: &str) -> Output {
        let mut shell = self.shell(text);
        let mut child = shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(pasted.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Looks again until the line succeeds and says this.
    fn until(&self, line: &str, says: &str) {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let output = self.run(line, "");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if output.status.success() && said.contains(says) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "in vain: {line}\n{said}{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }

    /// Does what one block says, and remembers what it printed that is needed later.
    fn follow(&mut self, block: &Block) {
        let text = self.own(&block.lines.join("\n"));
        if block.kind == "toml" {
            let mut file = OpenOptions::new().append(true).open(self.configuration()).unwrap();
            return writeln!(file, "\n{text}").unwrap();
        }
        if text == "nightdrop serve" {
            self.portal = Some(
                self.shell("exec nightdrop serve")
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .spawn()
                    .unwrap(),
            );
            return self.until("nightdrop doctor --ready", "");
        }
        if text.contains("nightdrop receipt get") {
            self.until(&format!("nightdrop request show {} --json", self.request), "\"state\":\"purged\"");
        }
        let pasted = match text.lines().last() {
            Some("cat > api-key") => format!("{}\n", self.api_key),
            Some("cat > secrets/stripe") => format!("{TEST_KEY}\n"),
            _ => String::new(),
        };
        let output = self.run(&text, &pasted);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}\n{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(!said.contains('✗'), "{text}\n{said}");
        let after = |name: &str| said.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
        for (name, place) in [
            ("API key ", &mut self.api_key),
            ("Request ", &mut self.request),
            ("Link ", &mut self.link),
        ] {
            if let Some(found) = after(name) {
                *place = found;
            }
        }
        let stays = |line: &&str| ["umask ", "cd ", "export "].iter().any(|word| line.starts_with(word));
        self.standing.extend(text.lines().filter(stays).map(str::to_owned));
    }
}

#[test]
#[ignore = "needs openssl and curl: run tests/run"]
fn the_first_hour_goes_as_it_is_written() {
    let blocks = blocks(&read(&root().join("docs/first-hour.md")));
    let followed: Vec<&Block> = blocks.iter().filter(|block| block.kind == "sh" || block.kind == "toml").collect();
    assert!(followed.len() >= 14, "{} blocks", followed.len());
    let others: Vec<&str> = blocks
        .iter()
        .map(|block| block.kind.as_str())
        .filter(|kind| !["sh", "toml"].contains(kind))
        .collect();
    assert_eq!(others, ["console"], "only the installation is not run");
    let mut reader = Reader::new();
    for block in followed {
        reader.follow(block);
    }
    let drop = reader.folder.path().join("drop");
    for made in ["first.age", "receipt.txt", "audit.jsonl", "received.html"] {
        assert!(drop.join(made).metadata().is_ok_and(|file| file.len() > 0), "{made}");
    }
    assert!(!drop.join("drill").exists());
    let portal = reader.portal.as_mut().expect("the portal was started");
    assert!(Command::new("kill").arg(portal.id().to_string()).status().unwrap().success());
    assert_eq!(portal.wait().unwrap().code(), Some(0));
}
