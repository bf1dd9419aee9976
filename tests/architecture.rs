//! Keeps the shape that `docs/architecture.md` describes: pure crates and modules stay pure, arrows
//! point inward, files stay small, and shipped code does not panic on purpose.
//!
//! It reads sources and manifests as text, after comments, strings and `#[cfg(test)]` items have been
//! blanked out. Every rule has a test of its own on a source that breaks it.

#[path = "architecture/source.rs"]
mod source;

use std::fmt::Write as _;
use std::{fs, io};

use source::{Source, has_word, root, sources};

/// Lines of a file that are not tests.
const MAX_FILE_LINES: usize = 500;
/// The same, for nine files out of ten.
const MAX_FILE_LINES_P90: usize = 350;

/// Where the rule "no socket, clock, randomness, environment or file" holds.
const PURE: &[&str] = &["pooler-image/core/src", "pooler-image/config/src", "src/plan", "src/api"];

/// What pure code may not name. A path matches with everything below it.
const IMPURE_PATHS: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io::stderr",
    "std::io::stdin",
    "std::io::stdout",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "getrandom",
    "hyper",
    "kube::Api",
    "kube::Client",
    "kube::api::Api",
    "kube::client",
    "kube::runtime",
    "rand",
    "tokio",
    "tokio_postgres",
];

/// Addresses are data; only what opens a socket or resolves a name is impure.
const PURE_PATHS: &[&str] = &[
    "std::net::AddrParseError",
    "std::net::IpAddr",
    "std::net::Ipv4Addr",
    "std::net::Ipv6Addr",
    "std::net::SocketAddr",
];

/// Clocks, whatever they are imported from.
const CLOCKS: &[&str] = &["Instant::now", "SystemTime::now", "Timestamp::now", "Utc::now", "Local::now"];

/// Words that make code wait or share, whatever they are imported from.
const IMPURE_WORDS: &[&str] = &["async", "await", "thread_local", "static mut"];

/// Dependencies that bring a socket, a clock, randomness or a runtime with them.
const IMPURE_DEPENDENCIES: &[&str] = &[
    "async-std",
    "chrono",
    "futures",
    "getrandom",
    "hyper",
    "jiff",
    "k8s-openapi",
    "kube",
    "mio",
    "openssl",
    "rand",
    "reqwest",
    "ring",
    "rustix",
    "rustls",
    "smol",
    "socket2",
    "time",
    "tokio",
    "tracing",
    "uuid",
];

/// Manifest, and what its `[dependencies]` may not name beyond the rules above.
const MANIFESTS: &[(&str, bool, &[&str])] = &[
    ("pooler-image/core/Cargo.toml", true, &["pgpooler", "pgpooler-config", "pgpooler-operator"]),
    ("pooler-image/config/Cargo.toml", true, &["pgpooler", "pgpooler-core", "pgpooler-operator"]),
    ("pooler-image/pooler/Cargo.toml", false, &["k8s-openapi", "kube", "pgpooler-operator"]),
    ("Cargo.toml", false, &["pgpooler"]),
];

/// A module of the operator, and the modules of the operator that it may not name: those outside of it.
const ARROWS: &[(&str, &[&str])] = &[
    ("api", &["plan", "observe", "apply", "status", "controller", "leader", "run", "http", "metrics"]),
    ("names", &["api", "plan", "observe", "apply", "status", "controller", "leader", "run"]),
    ("plan", &["observe", "apply", "status", "controller", "leader", "run", "http", "metrics", "cli"]),
    ("observe", &["apply", "status", "controller", "leader", "run", "cli"]),
    ("budget", &["observe", "apply", "status", "controller", "leader", "run", "cli"]),
    ("apply", &["observe", "status", "controller", "leader", "run", "cli"]),
    ("status", &["observe", "apply", "controller", "leader", "run", "cli"]),
    ("leader", &["observe", "apply", "status", "controller", "plan", "run", "cli"]),
    ("controller", &["run", "cli", "leader"]),
];

/// Sources that run in production, where nothing may panic on purpose.
const SHIPPED: &[&str] =
    &["src", "pooler-image/core/src", "pooler-image/config/src", "pooler-image/pooler/src"];

/// Calls that end the task or the process.
const PANICS: &[&str] =
    &[".unwrap()", ".unwrap_err()", ".expect(", ".expect_err(", "panic!(", "unreachable!(", "todo!("];

/// File, how many calls of [`PANICS`] it may have, and the invariant that makes them unreachable.
const PANICS_ALLOWED: &[(&str, usize, &str)] = &[
    ("pooler-image/config/src/bundle.rs", 2, "a bundle has a JSON form, HMAC takes a key of any length"),
    ("pooler-image/config/src/document.rs", 2, "every field of the document has a TOML form"),
    ("pooler-image/core/src/scram/keys.rs", 1, "HMAC takes a key of any length"),
    ("pooler-image/pooler/src/settings.rs", 1, "every field of the document has a TOML form"),
];

/// One broken rule: where, and what.
type Broken = Vec<String>;

#[test]
fn pure_code_names_no_clock_socket_file_or_runtime() -> io::Result<()> {
    let mut broken = Broken::new();
    for source in sources(PURE)? {
        broken.extend(impurities(&source));
    }
    report(&broken);
    Ok(())
}

#[test]
fn manifests_of_the_pure_crates_list_nothing_impure() -> io::Result<()> {
    let mut broken = Broken::new();
    for (path, pure, forbidden) in MANIFESTS {
        let manifest = fs::read_to_string(root().join(path))?;
        for name in dependencies(&manifest) {
            if forbidden.contains(&name.as_str()) || (*pure && is_impure_dependency(&name)) {
                broken.push(format!("{path}: depends on {name}"));
            }
        }
    }
    report(&broken);
    Ok(())
}

#[test]
fn arrows_between_the_modules_of_the_operator_point_inward() -> io::Result<()> {
    let mut broken = Broken::new();
    for source in sources(&["src"])? {
        broken.extend(outward_arrows(&source));
    }
    report(&broken);
    Ok(())
}

#[test]
fn files_stay_small() -> io::Result<()> {
    let mut sizes = Vec::new();
    for source in sources(&["src", "pooler-image", "xtask/src"])? {
        sizes.push((source.lines, source.path));
    }
    report(&too_long(&mut sizes));
    Ok(())
}

#[test]
fn shipped_code_does_not_panic_on_purpose() -> io::Result<()> {
    let mut broken = Broken::new();
    for source in sources(SHIPPED)? {
        broken.extend(panics(&source, PANICS_ALLOWED));
    }
    report(&broken);
    Ok(())
}

#[test]
fn the_rules_look_at_sources_that_exist() -> io::Result<()> {
    for folder in SHIPPED.iter().chain(PURE) {
        assert!(
            !sources(&[folder])?.is_empty(),
            "{folder} has no sources: adapt this test to the new layout"
        );
    }
    for (module, _) in ARROWS {
        let exists =
            sources(&["src"])?.iter().any(|source| source.module.first().is_some_and(|m| m == module));
        assert!(exists, "src has no module {module}: adapt this test to the new layout");
    }
    for (path, ..) in PANICS_ALLOWED {
        assert!(root().join(path).is_file(), "{path} is gone: take it off the list");
    }
    Ok(())
}

// What a source breaks.

fn impurities(source: &Source) -> Broken {
    let mut broken = Broken::new();
    for path in source.paths() {
        let joined = path.join("::");
        let within = |outer: &&&str| joined == **outer || joined.starts_with(&format!("{outer}::"));
        let impure = IMPURE_PATHS.iter().any(|outer| within(&outer));
        let pure = PURE_PATHS.iter().any(|outer| within(&outer));
        if (impure && !pure) || CLOCKS.iter().any(|clock| joined.ends_with(clock)) {
            broken.push(format!("{}: names {joined}", source.path));
        }
    }
    for word in IMPURE_WORDS {
        if has_word(&source.code, word) {
            broken.push(format!("{}: uses `{word}`", source.path));
        }
    }
    broken
}

fn outward_arrows(source: &Source) -> Broken {
    let Some((module, outer)) =
        ARROWS.iter().find(|(module, _)| source.module.first().is_some_and(|m| m == module))
    else {
        return Broken::new();
    };
    let named = source.paths().into_iter().filter_map(|path| source.resolve(&path));
    let bad = named.filter(|target| outer.contains(&target.as_str()));
    let mut broken: Broken =
        bad.map(|target| format!("{}: {module} names crate::{target}", source.path)).collect();
    broken.dedup();
    broken
}

fn too_long(sizes: &mut [(usize, String)]) -> Broken {
    sizes.sort();
    let long = sizes.iter().filter(|(lines, _)| *lines > MAX_FILE_LINES);
    let mut broken: Broken = long.map(|(lines, path)| format!("{path}: {lines} lines")).collect();
    if let Some((lines, _)) = sizes.get(sizes.len() * 9 / 10)
        && *lines > MAX_FILE_LINES_P90
    {
        broken.push(format!("one file in ten has {lines} lines or more, {MAX_FILE_LINES_P90} is the bar"));
    }
    broken
}

fn panics(source: &Source, allowed: &[(&str, usize, &str)]) -> Broken {
    let found: usize = PANICS.iter().map(|call| source.code.matches(call).count()).sum();
    let limit = allowed.iter().find(|(path, ..)| *path == source.path).map_or(0, |(_, limit, _)| *limit);
    if found <= limit {
        return Broken::new();
    }
    vec![format!("{}: {found} calls that panic, {limit} allowed", source.path)]
}

fn is_impure_dependency(name: &str) -> bool {
    IMPURE_DEPENDENCIES.iter().any(|outer| name == *outer || name.starts_with(&format!("{outer}-")))
}

/// Names in the `[dependencies]` tables of a manifest; those for tests and builds are left out.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            inside =
                table == "dependencies" || (table.starts_with("target.") && table.ends_with(".dependencies"));
            names.extend(table.strip_prefix("dependencies.").map(str::to_owned));
        } else if inside && !line.starts_with('#') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            names.extend((!name.is_empty()).then(|| name.trim_matches('"').to_owned()));
        }
    }
    names
}

fn report(broken: &[String]) {
    let mut text = String::new();
    for line in broken {
        let _ = write!(text, "\n  {line}");
    }
    assert!(broken.is_empty(), "docs/architecture.md says why these are not allowed:{text}");
}

/// Each rule must be able to fail: what it says of a source that breaks it.
mod rules {
    use super::*;

    fn plan(text: &str) -> Source {
        Source::parse("src/plan/budget.rs", text)
    }

    #[test]
    fn a_clock_is_impure_however_it_is_written() {
        for text in [
            "fn f() { let now = std::time::Instant::now(); }",
            "use std::time::{Duration, Instant}; fn f() { Instant::now(); }",
            "fn f() { unit.unwrap_or_else(time::SystemTime::now); }",
            "fn f() { jiff::Timestamp::now(); }",
        ] {
            assert!(!impurities(&plan(text)).is_empty(), "{text}");
        }
    }

    #[test]
    fn sockets_files_runtimes_and_randomness_are_impure() {
        for text in [
            "use std::{collections::BTreeMap, env};",
            "use std::net::{IpAddr, TcpStream};",
            "fn f() { std::fs::read(path); }",
            "use tokio::sync::Mutex;",
            "use kube::{Api, ResourceExt};",
            "fn f() { rand::random(); }",
            "async fn f() {}",
            "static mut COUNT: u8 = 0;",
        ] {
            assert!(!impurities(&plan(text)).is_empty(), "{text}");
        }
    }

    #[test]
    fn values_comments_strings_and_tests_are_pure() {
        for text in [
            "use std::net::{IpAddr, SocketAddr}; use std::time::{Duration, Instant};",
            "use kube::api::ObjectMeta; use kube::ResourceExt;",
            "/// Not `std::env::var`.\nfn f() -> &'static str { \"async Instant::now()\" }",
            "/* tokio::spawn /* rand::random */ */ const QUOTE: char = '\\''; const ASYNC: &str = r#\"\"async\"#;",
            "fn f() {}\n#[cfg(test)]\nmod tests { fn g() { std::env::var(\"A\"); } }",
            "fn f(now: Instant) -> Instant { now }",
        ] {
            assert_eq!(impurities(&plan(text)), Broken::new(), "{text}");
        }
    }

    #[test]
    fn code_after_a_test_module_still_counts() {
        let text = "#[cfg(test)]\nmod tests { const A: [u8; 1] = [b'}']; }\nuse std::env;\n";
        assert_eq!(impurities(&plan(text)).len(), 1);
        assert_eq!(plan(text).lines, 1);
    }

    #[test]
    fn an_outward_arrow_is_seen_in_every_form() {
        for text in [
            "use crate::observe::Facts;",
            "use crate::{api::PgPooler, apply::{ssa, prune}};",
            "use super::super::status;",
            "fn f() { crate::controller::run(); }",
        ] {
            assert_eq!(outward_arrows(&plan(text)).len(), 1, "{text}");
        }
        for text in ["use crate::api::status::Budget;", "use super::status;", "mod status;"] {
            assert_eq!(outward_arrows(&plan(text)), Broken::new(), "{text}");
        }
        assert!(!outward_arrows(&Source::parse("src/plan/mod.rs", "use super::observe::Seen;")).is_empty());
    }

    #[test]
    fn dependencies_for_tests_and_builds_do_not_count() {
        let manifest = "[package]\nname = \"a\"\n[dependencies]\nserde.workspace = true\n# rand = \"1\"\n\
            tokio-util = { version = \"1\" }\n[dependencies.kube]\nversion = \"3\"\n\
            [target.'cfg(unix)'.dependencies]\nmio = \"1\"\n[dev-dependencies]\nrand = \"1\"\n";
        assert_eq!(dependencies(manifest), ["serde", "tokio-util", "kube", "mio"]);
        let impure: Vec<_> =
            dependencies(manifest).into_iter().filter(|name| is_impure_dependency(name)).collect();
        assert_eq!(impure, ["tokio-util", "kube", "mio"]);
    }

    #[test]
    fn long_files_and_many_long_files_are_refused() {
        let file = |lines: usize| (lines, format!("{lines}.rs"));
        assert_eq!(too_long(&mut [vec![file(501)], vec![file(10); 20]].concat()).len(), 1);
        assert_eq!(too_long(&mut [vec![file(400); 4], vec![file(10); 16]].concat()).len(), 1);
        assert_eq!(too_long(&mut vec![file(350); 20]), Broken::new());
    }

    #[test]
    fn a_panic_needs_an_entry_in_the_list() {
        let source = plan("fn f() { a.unwrap(); b.expect(\"c\"); d.unwrap_or(0); // e.unwrap()\n}");
        assert_eq!(panics(&source, &[]).len(), 1);
        assert_eq!(panics(&source, &[("src/plan/budget.rs", 1, "")]).len(), 1);
        assert_eq!(panics(&source, &[("src/plan/budget.rs", 2, "")]), Broken::new());
    }
}
