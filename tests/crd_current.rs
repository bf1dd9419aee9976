//! The definition of the custom resource that is checked in is the one that the code makes, and of a size that
//! `kubectl apply` can handle.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use serde_json::Value;

fn schema() -> Value {
    let yaml = pgpooler_operator::crd::yaml().expect("YAML");
    let definition: Value = serde_saphyr::from_str(&yaml).expect("a document");
    definition.pointer("/spec/versions/0/schema/openAPIV3Schema").expect("a schema").clone()
}

#[test]
fn the_generated_definition_is_the_one_checked_in() {
    let generated = pgpooler_operator::crd::yaml().expect("YAML");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/pgpooler.dev_pgpoolers.yaml");
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    let how = "run `cargo run -p pgpooler-operator -- crd > crds/pgpooler.dev_pgpoolers.yaml`";
    assert!(generated == checked_in, "crds/ is not current; {how}");
}

#[test]
fn it_is_small() {
    assert!(pgpooler_operator::crd::yaml().expect("YAML").len() < 100_000);
}

#[test]
fn every_field_is_described() {
    fn walk(path: &str, schema: &Value, bare: &mut Vec<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if field["description"].as_str().is_none_or(str::is_empty) {
                bare.push(path.clone());
            }
            walk(&path, field, bare);
            walk(&path, &field["items"], bare);
        }
    }
    let mut bare = Vec::new();
    for part in ["spec", "status"] {
        walk(part, &schema()["properties"][part], &mut bare);
    }
    assert_eq!(bare, Vec::<String>::new());
}

#[test]
fn every_field_of_the_spec_that_may_be_left_out_says_what_it_then_is() {
    let spec = &schema()["properties"]["spec"];
    let says_unset = |text: &str| text.contains("nset");
    for (name, field) in spec["properties"].as_object().expect("fields") {
        let described = says_unset(field["description"].as_str().unwrap_or_default());
        let ok = name == "target" || name == "pools" || field.get("default").is_some() || described;
        assert!(ok, "spec.{name} has no default");
    }
}

#[test]
fn the_chart_installs_this_definition_and_no_other() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/pgpooler-operator/files/crds");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let copy = std::fs::read_to_string(&files[0]).unwrap();
    assert!(copy == pgpooler_operator::crd::yaml().expect("YAML"), "run cargo xtask generate");
}
