//! A PostgreSQL of its own for the tests: a cluster made in a temporary folder, on loopback, run by a user that is not root. It ends, and its folder goes, when the process that
//! started it ends, however that happens: a shell between them waits for its input to be closed.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Waits for the end of its input, then stops the server and takes the folder away.
const KEEPER: &str = r#"while read -r _; do :; done; "$1/pg_ctl" -D "$2/data" -m immediate stop; rm -rf "$2""#;

pub struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    user: Option<(u32, u32)>,
    number: AtomicU32,
    /// The shell that ends the server with this process.
    _keeper: Child,
}

impl Cluster {
    /// Makes and starts one; `settings` are lines of `postgresql.conf`.
    pub fn start(settings: &[&str]) -> Self {
        Self::with_files(settings, &[])
    }

    /// The same with files in its data folder, which are its own alone.
    pub fn with_files(settings: &[&str], files: &[(&str, String)]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let programs = programs();
        let name = format!(
            "nightdrop-postgres-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let user = (id(&["-u"]) == Some(0)).then(|| (id(&["-u", "postgres"]).unwrap(), id(&["-g", "postgres"]).unwrap()));
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut keeper = Command::new("sh");
        keeper
            .args(["-c", KEEPER, "sh"])
            .arg(&programs)
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        as_user(&mut keeper, user);
        let cluster = Self {
            programs,
            folder,
            port,
            user,
            number: AtomicU32::new(0),
            _keeper: keeper.spawn().unwrap(),
        };
        let data = cluster.data();
        cluster.run(
            "initdb",
            &[
                "-D",
                data.to_str().unwrap(),
                "-U",
                "admin",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "-N",
            ],
        );
        let mut lines = format!("port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nmax_connections = 400\n");
        lines.extend(settings.iter().map(|line| format!("{line}\n")));
        let file = data.join("postgresql.conf");
        let before = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, before + &lines).unwrap();
        for (name, content) in files {
            let path = data.join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            if let Some((uid, gid)) = user {
                chown(&path, Some(uid), Some(gid)).unwrap();
            }
        }
        cluster.go();
        cluster.sql("postgres", "CREATE ROLE nightdrop LOGIN PASSWORD 'test'");
        cluster
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// A new database; its address.
    pub fn database(&self) -> String {
        let name = format!("d{}", self.number.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER nightdrop"));
        self.address(&name)
    }

    pub fn address(&self, database: &str) -> String {
        format!("postgres://nightdrop:test@127.0.0.1:{}/{database}", self.port)
    }

    /// Starts a stopped server; returns when it answers.
    pub fn go(&self) {
        let log = self.folder.join("log");
        let data = self.data();
        self.run(
            "pg_ctl",
            &["-D", data.to_str().unwrap(), "-l", log.to_str().unwrap(), "-w", "start"],
        );
    }

    /// Stops the server as a crash would (`immediate`) or by ending every session (`fast`).
    pub fn halt(&self, mode: &str) {
        let data = self.data();
        self.run("pg_ctl", &["-D", data.to_str().unwrap(), "-m", mode, "-w", "stop"]);
    }

    /// Runs statements as the server's own admin.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let port = self.port.to_string();
        self.run(
            "psql",
            &[
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-U",
                "admin",
                "-d",
                database,
                "-v",
                "ON_ERROR_STOP=1",
                "-qAtc",
                statements,
            ],
        )
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(self.programs.join(program));
        command
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        as_user(&mut command, self.user);
        let mut child = command.spawn().unwrap();
        // The server keeps what it inherits: its output ends with the program and not with the pipe.
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "{program} does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        if !status.success() {
            let mut errors = child.stderr.take().unwrap();
            let mut text = String::new();
            let _ = std::io::Read::read_to_string(&mut errors, &mut text);
            panic!("{program}: {status}: {text}");
        }
        match program {
            "psql" => BufReader::new(child.stdout.take().unwrap())
                .lines()
                .map_while(Result::ok)
                .collect::<Vec<_>>()
                .join("\n"),
            _ => String::new(),
        }
    }
}

fn as_user(command: &mut Command, user: Option<(u32, u32)>) {
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// The newest one that is installed where Debian puts it, or the one that `pg_config` names.
fn programs() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = installed
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .max_by_key(|bin| version(bin));
    newest.unwrap_or_else(|| {
        let output = Command::new("pg_config")
            .arg("--bindir")
            .output()
            .expect("PostgreSQL is not installed");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}

fn version(bin: &Path) -> Option<u32> {
    bin.parent()?.file_name()?.to_str()?.parse().ok()
}
