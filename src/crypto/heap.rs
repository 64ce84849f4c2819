//! The heap: every block that is freed is wiped, and what a burst took is given back to the system.
//!
//! Wiping costs one `memset` of each freed block; whoever gives a block back gives zeros back, also when a vector grows. It is for every program that is built with
//! this library, so that tests and measurements run with it.
//!
//! glibc keeps what was freed, up to eight heaps for each core, and gives back only what lies at the end of one: after 300 uploads that broke off, 230 MiB stayed
//! resident for good. So there are two heaps, large blocks are mapped by themselves whatever was freed before, and [`trim`] is called once a minute. Other
//! allocators were measured (docs/decisions/allocator.md).
#![allow(unsafe_code)] // Two functions of the C library that take numbers alone.

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

#[global_allocator]
static WIPING: ZeroAlloc<System> = ZeroAlloc(System);

/// Bytes from which on a block is a mapping of its own, which goes back to the system as soon as it is freed: argon2's memory, the store's segments. The buffers of
/// uploads are smaller: each mapping costs a system call, and its pages anew.
#[cfg(target_env = "gnu")]
const MAPPED_FROM: i32 = 256 << 10;
#[cfg(target_env = "gnu")]
const HEAPS: i32 = 2;

/// To be called once, before there are threads.
pub fn set_up() {
    #[cfg(target_env = "gnu")]
    // SAFETY: both take a number for a number; no pointer is passed or returned.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
    }
}

/// Gives every whole page that is free back to the system. It takes milliseconds, in which others of the same heap wait.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number alone and may be called by any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn resident() -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    /// In a process of its own: other tests take and free memory meanwhile.
    #[test]
    fn what_a_burst_took_is_given_back() {
        const ALONE: &str = "NIGHTDROP_TEST_HEAP";
        if std::env::var_os(ALONE).is_none() {
            let this = "crypto::heap::tests::what_a_burst_took_is_given_back";
            let ran = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", this, "--test-threads", "1"])
                .env(ALONE, "1")
                .output()
                .unwrap();
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
            return;
        }
        set_up();
        let before = resident();
        // One small block behind every large one: the end of the heap is never free.
        let (burst, stays): (Vec<_>, Vec<_>) = (0..1_000).map(|n| (vec![n as u8 | 1; 100_000], Box::new(n))).unzip();
        assert!(resident() > before + 90_000_000);
        drop(burst);
        trim();
        assert!(resident() < before + 10_000_000, "{} MB stay", (resident() - before) / 1_000_000);
        drop(stays);
    }
}
