//! Tells the program which build it is: the commit, the target and the compiler. No time and no path of the machine goes in, so that the same sources give the same program.
//!
//! The commit is what `NIGHTDROP_COMMIT` says, for a build without a repository (an image, a package, a tarball); else, in a release build, what git says, with
//! `-modified` behind it where files were changed since. A debug build does not ask git: each commit would have it compiled anew. Without git nothing fails.

use std::process::Command;

fn main() {
    // None of these begins with NIGHTDROP_: `cargo run` and `cargo test` hand them on to the program, which would take them for settings.
    println!("cargo::rerun-if-env-changed=NIGHTDROP_COMMIT");
    println!("cargo::rerun-if-changed=assets/packaging/build.rs");
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given().or_else(|| release.then(of_git).flatten());
    let otherwise = if release { "unknown" } else { "development" };
    println!("cargo::rustc-env=BUILD_COMMIT={}", commit.as_deref().unwrap_or(otherwise));
    println!("cargo::rustc-env=BUILD_TARGET={}", std::env::var("TARGET").unwrap_or_default());
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let compiler = said(&compiler, &["--version"]).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=BUILD_COMPILER={compiler}");
}

/// What whoever builds says. A word that could be no commit is passed over, and said.
fn given() -> Option<String> {
    let word = std::env::var("NIGHTDROP_COMMIT").ok()?;
    let word = word.trim();
    let fits = !word.is_empty() && word.len() <= 64 && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+~".contains(c));
    if !fits && !word.is_empty() {
        println!("cargo::warning=NIGHTDROP_COMMIT is not taken: it must have at most 64 letters, digits and -_.+~");
    }
    fits.then(|| word.to_owned())
}

fn of_git() -> Option<String> {
    // Asked again when something was committed, checked out or changed.
    for name in ["HEAD", "logs/HEAD", "index"] {
        if let Some(file) = said("git", &["rev-parse", "--git-path", name]) {
            println!("cargo::rerun-if-changed={file}");
        }
    }
    for part in ["src", "assets", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={part}");
    }
    // A repository around unpacked sources is another project's.
    let ours = said("git", &["ls-files", "--error-unmatch", "assets/packaging/build.rs"]).is_some();
    let commit = said("git", &["rev-parse", "--short=12", "HEAD"]).filter(|_| ours)?;
    let changed = said("git", &["status", "--porcelain", "--untracked-files=no"]).is_some();
    Some(if changed { format!("{commit}-modified") } else { commit })
}

/// The one line that a program prints; `None` where it does not run, fails or says nothing.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}
