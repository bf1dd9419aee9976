//! Where the repository is and which version it holds.

use std::path::Path;

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// The version that all crates share.
pub(crate) fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
