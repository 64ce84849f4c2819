//! Which build this is: what `--version`, the status, the metrics and the doctor say. `assets/packaging/build.rs` finds it out.

/// Of the package.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What it was built from; `development` for a debug build, `unknown` where nobody could say.
pub(crate) const COMMIT: &str = env!("BUILD_COMMIT");
/// The machine that it was built for.
pub(crate) const TARGET: &str = env!("BUILD_TARGET");
pub(crate) const COMPILER: &str = env!("BUILD_COMPILER");
