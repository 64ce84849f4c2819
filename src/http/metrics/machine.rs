//! What the process takes of its machine, as the kernel tells it: processor, memory, open files, room on the disk. What cannot be told is left out.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

/// Ticks of the kernel's process times in a second, the same on every machine that Rust's Linux targets run on.
const TICKS: f64 = 100.0;
/// Bytes of the blocks that a file's metadata count.
const BLOCK: u64 = 512;

/// The process since its start.
pub(super) struct Process {
    /// Seconds since 1970.
    pub started: f64,
    pub cpu_seconds: f64,
    pub resident: u64,
    pub virtual_bytes: u64,
    pub open_files: u64,
    pub open_files_limit: Option<u64>,
}

impl Process {
    pub(super) fn read() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The program's name, in parentheses, may hold anything.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let number = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok());
        let machine = std::fs::read_to_string("/proc/stat").ok()?;
        let booted: f64 = machine.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        Some(Self {
            started: booted + number(19)? / TICKS,
            cpu_seconds: (number(11)? + number(12)?) / TICKS,
            resident: kib("VmRSS")? << 10,
            virtual_bytes: kib("VmSize")? << 10,
            // But for the one that this look opens.
            open_files: (std::fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1),
            open_files_limit: getrlimit(Resource::Nofile).current,
        })
    }
}

/// Room on the file system of a folder: what this process may still use, and all of it.
pub(super) fn room(folder: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some((bytes(stat.f_bavail), bytes(stat.f_blocks)))
}

/// Bytes that a folder's files take on the disk. What goes away meanwhile counts nothing.
pub(super) fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.blocks() * BLOCK,
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_kernel_tells_of_this_process() {
        let process = Process::read().unwrap();
        assert!(process.started > 1_600_000_000.0 && process.resident > 1 << 20 && process.open_files > 2);
        assert!(process.virtual_bytes >= process.resident && process.cpu_seconds >= 0.0);
        let (free, whole) = room(&std::env::temp_dir()).unwrap();
        assert!(free <= whole && whole > 0);
    }
}
