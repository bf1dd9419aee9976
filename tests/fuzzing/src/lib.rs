//! What fuzzers do with pgpooler: a function for each target, which panics when it finds something.
//!
//! libFuzzer's programs in `pooler-image/core/fuzz` call these, and so do the tests of this crate, with the seeds that
//! are checked in and with bytes of a simple generator.

mod decoders;
mod session;

pub use session::session;

/// A target: its name, and what it does with any bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("admin", decoders::admin),
    ("backend", decoders::backend),
    ("cancel", decoders::cancel),
    ("document", decoders::document),
    ("error_response", decoders::error_response),
    ("frames", decoders::frames),
    ("login", decoders::login),
    ("reject", decoders::reject),
    ("scram", decoders::scram),
    ("session", session),
    ("sql", decoders::sql),
    ("startup", decoders::startup),
    ("userlist", decoders::userlist),
];

/// Runs the target of this name.
///
/// # Panics
///
/// When the target finds something, or when there is none of this name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    let Some((_, target)) = target else { panic!("no target {name}") };
    target(data);
}
