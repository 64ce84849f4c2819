//! Places where a test ends the process as a `kill -9` would: between two steps that a crash must be able to separate.
//!
//! The names are the crash points of the design (C4 slot written … C25 purge stored). `NIGHTDROP_CRASH_AT=C15` ends the process at the first
//! passing of that point, `C4#2` at the second. Only tests and debug builds have them; a release holds nothing of this.

/// Passes a point, unless this is where the process is told to end.
#[inline]
pub fn point(name: &str) {
    #[cfg(any(test, debug_assertions))]
    armed::pass(name);
    #[cfg(not(any(test, debug_assertions)))]
    let _ = name;
}

#[cfg(any(test, debug_assertions))]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Target {
        name: String,
        passings: AtomicU32,
    }

    static TARGET: LazyLock<Option<Target>> = LazyLock::new(|| {
        let text = std::env::var("NIGHTDROP_CRASH_AT").ok().filter(|text| !text.is_empty())?;
        let (name, count) = text.split_once('#').unwrap_or((&text, "1"));
        Some(Target {
            name: name.to_owned(),
            passings: AtomicU32::new(count.parse().unwrap_or(1)),
        })
    });

    pub fn pass(name: &str) {
        let Some(target) = TARGET.as_ref().filter(|t| t.name == name) else {
            return;
        };
        if target.passings.fetch_sub(1, Ordering::SeqCst) == 1 {
            // No destructor, no flush, no core file.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            std::process::abort();
        }
    }
}
