//! Places where a test ends the process as a `kill -9` would: between two steps that a crash must be able to separate.
//!
//! The names are the crash points of the design (C4 slot written … C25 purge stored). `NIGHTDROP_CRASH_AT=C15` ends the process at the first
//! passing of that point, `C4#2` at the second; [`arm`] says so to a process that runs already. Only tests and debug builds have them; a release holds nothing of this.

/// Passes a point, unless this is where the process is told to end.
#[inline]
pub fn point(name: &str) {
    #[cfg(any(test, debug_assertions))]
    armed::pass(name);
    #[cfg(not(any(test, debug_assertions)))]
    let _ = name;
}

/// From now on the process ends at this point (`C15`, `C4#2`), and at no other.
pub fn arm(target: &str) {
    #[cfg(any(test, debug_assertions))]
    armed::arm(target);
    #[cfg(not(any(test, debug_assertions)))]
    let _ = target;
}

#[cfg(any(test, debug_assertions))]
mod armed {
    use std::sync::{LazyLock, Mutex, PoisonError};

    struct Target {
        name: String,
        passings: u32,
    }

    static TARGET: LazyLock<Mutex<Option<Target>>> =
        LazyLock::new(|| Mutex::new(std::env::var("NIGHTDROP_CRASH_AT").ok().and_then(|text| read(&text))));

    fn read(text: &str) -> Option<Target> {
        let (name, count) = text.split_once('#').unwrap_or((text, "1"));
        let passings = count.parse().unwrap_or(1);
        (!name.is_empty()).then(|| Target {
            name: name.to_owned(),
            passings,
        })
    }

    pub fn arm(text: &str) {
        *TARGET.lock().unwrap_or_else(PoisonError::into_inner) = read(text);
    }

    pub fn pass(name: &str) {
        let mut target = TARGET.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(target) = target.as_mut().filter(|t| t.name == name) else {
            return;
        };
        target.passings = target.passings.saturating_sub(1);
        if target.passings == 0 {
            // No destructor, no flush, no core file.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            std::process::abort();
        }
    }
}
