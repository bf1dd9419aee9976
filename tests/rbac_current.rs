//! The rights that the chart gives the operator are those of the calls that it makes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/pgpooler-operator/files/rbac.yaml");

#[test]
fn the_chart_gives_the_rights_that_the_calls_need() {
    let copy = std::fs::read_to_string(FILE).unwrap_or_default();
    let how = "run `cargo run -p pgpooler-operator -- rbac > charts/pgpooler-operator/files/rbac.yaml`";
    assert!(copy == pgpooler_operator::rbac::yaml().expect("YAML"), "files/rbac.yaml is not current; {how}");
}

#[test]
fn no_rule_has_a_wildcard() {
    let yaml = pgpooler_operator::rbac::yaml().expect("YAML");
    assert!(!yaml.contains('*'), "{yaml}");
}
