//! `init` at a terminal: each answer is judged at once, and asked for again with the reason.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::PASSWORD;
use crate::support::Folder;

/// Far longer than any prompt takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program at a terminal of its own, which `script` from util-linux makes.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn run(folder: &Folder, command: &str) -> Self {
        let mut child = Command::new("script")
            .args(["-qefc", command, "/dev/null"])
            .current_dir(folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("NIGHTDROP_ACCEPT_VOLATILE_DATA", "true")
            .env("NIGHTDROP_ACCEPT_READABLE_SWAP", "true")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (keys, mut out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (send, screen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(n @ 1..) = out.read(&mut bytes) {
                if send.send(bytes[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            keys,
            screen,
            seen: String::new(),
        }
    }

    /// Waits until these words stand on the screen; what stood before them is returned and forgotten.
    fn sees(&mut self, words: &str) -> String {
        loop {
            if let Some(at) = self.seen.find(words) {
                let rest = self.seen.split_off(at + words.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let more = self.screen.recv_timeout(PATIENCE);
            let more = more.unwrap_or_else(|_| panic!("no {words:?} on the screen: {}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&more));
        }
    }

    fn types(&mut self, line: &str) {
        self.keys.write_all(format!("{line}\n").as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// A question, and the answer to it.
    fn asked(&mut self, words: &str, answer: &str) -> String {
        let before = self.sees(words);
        self.types(answer);
        before
    }

    fn ends(mut self) -> bool {
        drop(self.keys);
        self.child.wait().unwrap().success()
    }
}

#[test]
fn a_wrong_answer_is_asked_for_again_with_the_reason() {
    let folder = Folder::new();
    let command = format!("{} init --erasure-slots 64 --accept-weak-erasure", env!("CARGO_BIN_EXE_nightdrop"));
    let mut terminal = Terminal::run(&folder, &command);
    terminal.asked("records and keys go [data]:", "");
    terminal.asked("applicants will see (https://…):", "http://drop.example.com");
    terminal.asked("applicants will see (https://…):", "https://drop.example.com");
    terminal.asked("applicants' page listens", "everywhere");
    let why = terminal.asked("applicants' page listens", "127.0.0.1:0");
    assert!(why.contains("must be an address and port"), "{why}");
    terminal.asked("console and API listen", "127.0.0.1:0");
    terminal.asked("browsers reach the console", "console.example.com");
    let why = terminal.asked("browsers reach the console", "");
    assert!(why.contains("staff_url: must be"), "{why}");
    terminal.asked("The company's name", "Harbour Bank");
    terminal.asked("Whom applicants may ask", "+44 20 7946 0000");
    terminal.asked("Add the sandbox", "yes");
    terminal.asked("e-mail address:", "ana");
    let why = terminal.asked("e-mail address:", "ana@example.com");
    assert!(why.contains("must be an e-mail address"), "{why}");
    terminal.asked("admin's name [Admin]:", "Ana");
    for weak in ["too short", "Harbour Bank Harbour"] {
        terminal.asked("admin's password (", weak);
        terminal.asked("The same again:", weak);
    }
    let why = terminal.asked("admin's password (", PASSWORD);
    assert!(why.contains("too easy to guess"), "{why}");
    terminal.asked("The same again:", PASSWORD);
    terminal.asked("passphrase? The portal then starts locked", "no");
    terminal.sees("API key");
    assert!(!terminal.seen.contains(PASSWORD), "a password is not echoed");
    assert!(terminal.ends());
    let text = std::fs::read_to_string(folder.path().join("nightdrop.toml")).unwrap();
    for line in [
        "public_url = \"https://drop.example.com\"",
        "name = \"Harbour Bank\"",
        "support = \"+44 20 7946 0000\"",
        "[providers.sandbox]",
        "kind = \"sandbox\"",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}
