//! The portal as a service manager runs it: what it is told, what a signal to read the configuration again does, and the unit that is given.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{Made, Serving, fails_with, http, nightdrop};
use crate::support::private;

/// A service manager's socket.
struct Manager(UnixDatagram);

impl Manager {
    fn at(address: &SocketAddr) -> Self {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self(socket)
    }

    fn hears(&self) -> String {
        let mut message = [0; 512];
        let length = self.0.recv(&mut message).expect("a message");
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// The next message that is no sign of life.
    fn news(&self) -> String {
        loop {
            match self.hears() {
                message if message == "WATCHDOG=1" => {}
                message => return message,
            }
        }
    }
}

fn event(serving: &mut Serving, name: &str) -> Value {
    loop {
        let line = serving.process.json();
        if line["event"] == name {
            return line;
        }
    }
}

async fn page(serving: &Serving) -> String {
    let url = format!("{}/d/{}", serving.public, "A".repeat(43));
    http().get(url).send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_service_manager_is_told_what_the_portal_does_and_that_it_lives() {
    let made = Made::new(&[]);
    let socket = made.path("notify");
    let manager = Manager::at(&SocketAddr::from_pathname(&socket).unwrap());
    let serving = made.serve_with(&[("NOTIFY_SOCKET", &socket), ("WATCHDOG_USEC", Path::new("3000000"))]);
    assert!(manager.hears().starts_with("READY=1\n"));
    for _ in 0..2 {
        assert_eq!(manager.hears(), "WATCHDOG=1", "the store has answered and the worker has turned");
    }
    let before = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    serving.process.signal("-HUP");
    let said = manager.news();
    let micros: i64 = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
    assert!(micros >= before.tv_sec * 1_000_000 + before.tv_nsec / 1_000, "{said}");
    assert!(manager.news().starts_with("READY=1\n"));
    serving.process.signal("-TERM");
    assert!(manager.news().starts_with("STOPPING=1\n"));
    assert_eq!(serving.process.end().1, Some(0));
}

#[tokio::test]
async fn a_name_in_linuxs_own_space_is_a_manager_too() {
    let made = Made::new(&[]);
    let name = format!("nightdrop-{}", std::process::id());
    let manager = Manager::at(&SocketAddr::from_abstract_name(&name).unwrap());
    let address = format!("@{name}");
    let serving = made.serve_with(&[("NOTIFY_SOCKET", Path::new(&address))]);
    assert!(manager.hears().starts_with("READY=1\n"));
    serving.stop();
}

#[tokio::test]
async fn a_signal_has_the_configuration_read_again_all_of_it_or_nothing() {
    let made = Made::new(&[]);
    let mut serving = made.serve();
    let text = std::fs::read_to_string(&made.config).unwrap();
    let change = |from: &str, to: &str, text: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let named = change("name = \"Example Bank\"", "name = \"Harbour Bank\"", &text);
    // Two faults and a change that is none.
    let faulty = change("uploads = 64", "uploads = 0", &named);
    let faulty = change("pages_per_address = 30", "pages_per_address = \"many\"", &faulty);
    private(&made.config, &faulty);
    serving.process.signal("-HUP");
    let refused = event(&mut serving, "reload_refused");
    let faults = refused["faults"].as_str().unwrap();
    assert!(
        faults.contains("limits.uploads: ") && faults.contains("limits.pages_per_address: "),
        "{faults}"
    );
    assert!(page(&serving).await.contains("Example Bank"));

    let sound = change("# log = \"info\"", "log = \"error\"", &named);
    let sound = change("public = \"127.0.0.1:0\"", "public = \"127.0.0.1:1\"", &sound);
    private(&made.config, &sound);
    serving.process.signal("-HUP");
    // Both lines are below the level that counts from here on: nothing of them is logged, and the page is new.
    crate::support::until("the page is new", async || page(&serving).await.contains("Harbour Bank")).await;
    private(
        &made.config,
        &named.replace("workers", "wokers").replacen("# wokers = 0", "wokers = 0", 1),
    );
    serving.process.signal("-HUP");
    // Pages that were asked for at the level before have their lines.
    let mut between = Vec::new();
    loop {
        let line = serving.process.json();
        if line["event"] == "reload_refused" {
            break;
        }
        between.push(line["event"].as_str().unwrap_or_default().to_owned());
    }
    let low = between.iter().any(|event| event == "reloaded" || event == "at_next_start");
    assert!(!low, "nothing below an error was logged of the reload: {between:?}");

    private(
        &made.config,
        &change("public = \"127.0.0.1:0\"", "public = \"127.0.0.1:1\"", &named),
    );
    serving.process.signal("-HUP");
    let waits = event(&mut serving, "at_next_start");
    assert_eq!(waits["keys"], "listen.public");
    serving.stop();
}

#[test]
fn a_configuration_with_a_fault_ends_a_start_with_the_code_that_is_not_started_again() {
    let made = Made::new(&[]);
    let text = std::fs::read_to_string(&made.config).unwrap();
    private(&made.config, &text.replacen("uploads = 64", "uploads = 0", 1));
    let sentence = fails_with(78, &mut made.with_config(&["serve"]));
    assert!(sentence.contains("limits.uploads"), "{sentence}");
    assert!(unit().contains("RestartPreventExitStatus=78"));
}

fn unit() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/nightdrop.service")).unwrap()
}

#[test]
#[ignore = "needs systemd-analyze"]
fn the_unit_is_understood_and_exposes_little() {
    let folder = crate::support::Folder::new();
    // The program need not be installed here.
    let unit = unit().replace("/usr/local/bin/nightdrop", env!("CARGO_BIN_EXE_nightdrop"));
    let file = folder.path().join("nightdrop.service");
    std::fs::write(&file, unit).unwrap();
    let analyze = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze").args(arguments).arg(&file).output().unwrap();
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        (output.status.success(), text)
    };
    let (understood, text) = analyze(&["verify", "--man=no"]);
    // The one line that says of itself that older ones pass over it.
    let said: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("nightdrop.service") && !line.contains("notify-reload"))
        .collect();
    assert!(understood && said.is_empty(), "{text}");
    let (_, text) = analyze(&["security", "--offline=true", "--no-pager"]);
    let figure = text
        .split("Overall exposure level for")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().nth(1));
    let exposure: f64 = figure.and_then(|figure| figure.parse().ok()).unwrap_or_else(|| panic!("{text}"));
    assert!(exposure <= 1.5, "{text}");
}

#[test]
fn the_first_start_of_the_image_says_what_to_type() {
    let folder = crate::support::Folder::new();
    let config = folder.path().join("nightdrop.toml");
    let mut command = nightdrop(&["serve"]);
    command.env("NIGHTDROP_IMAGE", "nightdrop").env("NIGHTDROP_CONFIG", &config);
    let sentence = fails_with(78, &mut command);
    let folder = folder.path().display();
    let line =
        format!("docker run --rm -it -v nightdrop:{folder} nightdrop init --data-dir {folder} --public-url https://drop.example.com");
    assert!(sentence.contains(&line), "{sentence}");
}

#[test]
fn what_installs_the_service_is_printed_whole_and_nothing_is_made() {
    let folder = crate::support::Folder::new();
    let script = super::done(nightdrop(&["init", "--systemd"]).current_dir(folder.path()));
    assert!(crate::support::walk(folder.path()).is_empty());
    let users = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/nightdrop.sysusers")).unwrap();
    assert!(script.contains(&unit()) && script.contains(&users));
    let file = folder.path().join("install.sh");
    std::fs::write(&file, &script).unwrap();
    assert!(Command::new("sh").arg("-n").arg(&file).status().unwrap().success(), "{script}");
}
