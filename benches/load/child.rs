//! The measured process: this program again, in another role, so that its CPU time, memory and disk writes are its own. It is asked line by line, in JSON.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

/// The argument that makes this program a child.
pub const ROLE: &str = "--as";

pub struct Child {
    process: std::process::Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// What it said when it was ready.
    pub ready: Value,
}

impl Child {
    pub fn start(role: &str, settings: &Value) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut process = Command::new(program)
            .args([ROLE, role, &settings.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = process.stdin.take().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let ready = read(&mut stdout);
        Self {
            process,
            stdin,
            stdout,
            ready,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.ready["address"].as_str().unwrap().parse().unwrap()
    }

    pub fn ask(&mut self, what: &str, more: Value) -> Value {
        let question = json!({ "do": what, "with": more });
        writeln!(self.stdin, "{question}").unwrap();
        read(&mut self.stdout)
    }

    pub fn issue(&mut self, count: usize) -> Vec<String> {
        let answer = self.ask("issue", json!({ "count": count }));
        answer["paths"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p.as_str().unwrap().to_owned())
            .collect()
    }

    /// CPU seconds of the whole process, user and system, all threads.
    pub fn cpu(&mut self) -> f64 {
        self.ask("cpu", Value::Null)["seconds"].as_f64().unwrap()
    }

    /// Bytes that it caused to be written to the disk.
    pub fn written(&self) -> u64 {
        self.proc_field("io", "write_bytes:")
    }

    pub fn rss(&self) -> u64 {
        self.proc_field("status", "VmRSS:") * 1024
    }

    /// Highest resident size since the start or the last [`Child::forget_peak`].
    pub fn peak(&self) -> u64 {
        self.proc_field("status", "VmHWM:") * 1024
    }

    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").unwrap();
    }

    fn proc_field(&self, file: &str, field: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.process.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Lets it stop by itself, with its files in order.
    pub fn stop(mut self) {
        self.ask("stop", Value::Null);
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read(stdout: &mut impl BufRead) -> Value {
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|_| panic!("the measured process died; it said {line:?}"))
}

/// A folder on a real disk that goes away with its owner.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let base = std::env::var_os("NIGHTDROP_LOAD_DIR").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
        let path = base.join(format!("load-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Bytes of disk that the files below take.
    pub fn disk(&self) -> u64 {
        disk(&self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn disk(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => disk(&entry.path()),
            Ok(data) => data.blocks() * 512,
            // sled removes files while it is looked at.
            Err(_) => 0,
        })
        .sum()
}
