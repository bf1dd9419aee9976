//! The pages hold together: each is in the book, every link and anchor leads somewhere, and what they show of YAML can be
//! used as it is.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod fixtures;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use pgpooler_operator::plan::plan;
use serde_json::Value;

use fixtures::{is_within, pooler, settings, world};

/// Becomes a part of `benchmarks.md`.
const NO_PAGES: [&str; 2] = ["SUMMARY.md", "benchmarks/notes.md"];
/// What a fence may say of what is in it; `ignore` is for the tests that run commands.
const LANGUAGES: [&str; 8] = ["", "sh", "sh ignore", "yaml", "toml", "sql", "text", "rust"];

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// Pages of the book, and those that lead to it.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("charts/pgpooler-operator/README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

#[test]
fn every_page_is_in_the_book_once() {
    let docs = root().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let listed: Vec<_> = links(&summary).into_iter().map(|link| docs.join(link)).collect();
    let once: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(once.len(), listed.len(), "a page is listed twice");
    let is_page = |path: &PathBuf| {
        path.strip_prefix(&docs).is_ok_and(|page| NO_PAGES.iter().all(|other| Path::new(other) != page))
    };
    let there: BTreeSet<_> = pages().into_iter().filter(is_page).collect();
    assert_eq!(once, there);
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&prose(&text)) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { page.clone() } else { resolved(page.parent().unwrap(), file) };
            let has_anchor = || {
                let text = fs::read_to_string(&target).unwrap_or_default();
                anchors(&text).contains(anchor)
            };
            if !target.exists() || !(anchor.is_empty() || has_anchor()) {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_fence_ends_and_says_what_is_in_it() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        assert_eq!(text.lines().filter(|line| is_fence(line)).count() % 2, 0, "{}", page.display());
        for (language, _) in fences(&text) {
            assert!(LANGUAGES.contains(&language.as_str()), "{}: ```{language}", page.display());
        }
    }
}

#[test]
fn every_manifest_in_a_page_is_parsed_and_every_pgpooler_planned() {
    let mut planned = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let place = page.display().to_string();
        for manifest in manifests(&text) {
            let value: Value = serde_saphyr::from_str(&manifest)
                .unwrap_or_else(|error| panic!("{place}: {error}\n{manifest}"));
            if value["kind"] != "PgPooler" {
                continue;
            }
            let object = pooler(&manifest);
            is_within(&value, &serde_json::to_value(&object).unwrap(), &place);
            let plan = plan(&object, &world(&object), &settings());
            assert_eq!(plan.verdict.blocked, None, "{place}:\n{manifest}");
            planned += 1;
        }
    }
    assert!(planned >= 15, "{planned}");
}

/// YAML documents of a page: fences of it, and what commands have as their input.
fn manifests(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (language, body) in fences(text) {
        if language == "yaml" {
            found.extend(body.split("\n---\n").map(str::to_owned));
        } else if language.starts_with("sh") {
            let inputs = body.split("<<'EOF'\n").skip(1);
            found.extend(
                inputs.filter_map(|rest| rest.split_once("\nEOF")).map(|(input, _)| input.to_owned()),
            );
        }
    }
    found
}

fn is_fence(line: &str) -> bool {
    line.trim_start().starts_with("```")
}

/// Language and content of each fenced block, its indentation taken off.
fn fences(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut inside = None;
    for line in text.lines() {
        match inside {
            None if is_fence(line) => {
                inside = Some(line.len() - line.trim_start().len());
                found.push((line.trim_start().trim_start_matches('`').to_owned(), String::new()));
            }
            Some(_) if is_fence(line) => inside = None,
            Some(indent) => {
                let body = &mut found.last_mut().expect("a block").1;
                body.push_str(line.get(indent..).unwrap_or_default());
                body.push('\n');
            }
            None => {}
        }
    }
    found
}

/// The text without its fenced blocks and code.
fn prose(text: &str) -> String {
    let mut inside = false;
    let mut out = String::new();
    for line in text.lines() {
        inside ^= is_fence(line);
        if inside || is_fence(line) {
            continue;
        }
        // what is between backticks is no link, but a link's text may be
        let parts: Vec<_> =
            line.split('`').enumerate().filter(|(at, _)| at % 2 == 0).map(|(_, part)| part).collect();
        out.push_str(&parts.concat());
        out.push(' ');
    }
    out
}

/// Targets of links, also of those that are broken over lines.
fn links(text: &str) -> Vec<String> {
    let parts = text.split("](").skip(1);
    parts.filter_map(|part| part.split_once(')')).map(|(link, _)| link.split_whitespace().collect()).collect()
}

fn resolved(from: &Path, link: &str) -> PathBuf {
    let mut place = from.to_path_buf();
    for step in Path::new(link).components() {
        match step {
            Component::ParentDir => {
                place.pop();
            }
            step => place.push(step),
        }
    }
    place
}

/// What GitHub and mdBook make of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        inside ^= is_fence(line);
        let Some(heading) =
            line.trim_start_matches('#').strip_prefix(' ').filter(|_| !inside && line.starts_with('#'))
        else {
            continue;
        };
        let kept = heading.trim().chars().filter_map(|char| match char {
            ' ' => Some('-'),
            char if char.is_alphanumeric() || char == '-' || char == '_' => Some(char.to_ascii_lowercase()),
            _ => None,
        });
        let anchor: String = kept.collect();
        let count = (1..).map(|number| format!("{anchor}-{number}"));
        let free = std::iter::once(anchor.clone()).chain(count).find(|name| !found.contains(name));
        found.extend(free);
    }
    found
}

#[test]
fn headings_have_the_anchors_that_sites_give_them() {
    let expected = ["spectarget", "pause-db", "a-b", "a-b-1"].map(str::to_owned).into();
    assert_eq!(anchors("# spec.target\n### PAUSE [db]\n# a b\n```\n# none\n```\n# `a` b?\n"), expected);
}

#[test]
fn links_are_found_and_code_is_not_searched() {
    let text = "[a](b.md) `[c](d)` [`e`](f.md#g)\n```\n[h](i)\n```\n[k](l/\nm.md)\n";
    assert_eq!(links(&prose(text)), ["b.md", "f.md#g", "l/m.md"]);
}
