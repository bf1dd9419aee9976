//! The images that the cluster needs for itself. No registry is asked for anything.

use std::path::PathBuf;

use anyhow::Result;

use super::layout::Layout;
use super::node_config::PAUSE_IMAGE;
use super::oci::{Archive, File};
use super::programs::Programs;

/// What the self-test's pods run.
pub(crate) const PROBE_IMAGE: &str = "localhost/probe:1";
/// metrics-server.
pub(crate) const METRICS_SERVER_IMAGE: &str = "localhost/metrics-server:1";

/// The sandbox container of every pod.
pub(crate) fn pause(layout: &Layout, programs: &Programs) -> Result<PathBuf> {
    of_one_program(layout, programs, "pause", PAUSE_IMAGE)
}

/// The self-test's program.
pub(crate) fn probe(layout: &Layout, programs: &Programs) -> Result<PathBuf> {
    of_one_program(layout, programs, "probe", PROBE_IMAGE)
}

/// metrics-server.
pub(crate) fn metrics_server(layout: &Layout, programs: &Programs) -> Result<PathBuf> {
    of_one_program(layout, programs, "metrics-server", METRICS_SERVER_IMAGE)
}

fn of_one_program(layout: &Layout, programs: &Programs, name: &str, reference: &str) -> Result<PathBuf> {
    let path = layout.root.join("images").join(format!("{name}.tar"));
    let program = format!("/{name}");
    let image = Archive {
        reference: reference.to_owned(),
        entrypoint: vec![program.clone()],
        user: "65532:65532".to_owned(),
        files: vec![File::copy(programs.path(name)?, program)?],
        ..Archive::default()
    };
    image.write(&path)?;
    Ok(path)
}
