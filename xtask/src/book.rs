//! The documentation as a book: `cargo xtask book` is the preprocessor that `docs/book.toml` names, so that
//! `mdbook build docs` gives pages whose links to the repository's other files lead there.

use std::{
    io::{self, Read as _, Write as _},
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::Value;

/// Where files outside of `docs` are read.
const REPOSITORY: &str = "https://github.com/pgpooler/pgpooler/blob/main/";

/// Arguments of `cargo xtask book`, as mdBook gives them.
#[derive(Debug, Args)]
pub(crate) struct BookArgs {
    /// `supports RENDERER`: whether pages for it can be made.
    question: Vec<String>,
}

/// Reads a book from standard input and writes it, links changed; says yes to every renderer.
pub(crate) fn run(arguments: &BookArgs) -> Result<()> {
    if arguments.question.first().is_some_and(|word| word == "supports") {
        return Ok(());
    }
    ensure!(arguments.question.is_empty(), "mdBook asks for {:?}, which is not known", arguments.question);
    let mut input = String::new();
    io::stdin().read_to_string(&mut input)?;
    let (_, mut book): (Value, Value) = serde_json::from_str(&input).context("mdBook's JSON")?;
    chapters(&mut book);
    io::stdout().write_all(book.to_string().as_bytes()).context("standard output")
}

/// Every object with a path and a content is a chapter, however deep.
fn chapters(value: &mut Value) {
    if let (Some(path), Some(content)) = (value["path"].as_str(), value["content"].as_str()) {
        let content = with_links(content, Path::new(path));
        value["content"] = content.into();
    }
    match value {
        Value::Array(all) => all.iter_mut().for_each(chapters),
        Value::Object(all) => all.values_mut().for_each(chapters),
        _ => {}
    }
}

/// The page with links out of `docs` made absolute.
fn with_links(page: &str, path: &Path) -> String {
    let mut parts = page.split("](../");
    let mut out = vec![parts.next().unwrap_or_default().to_owned()];
    for part in parts {
        let (link, rest) = part.split_at(part.find(')').unwrap_or(part.len()));
        let link = format!("../{link}");
        let link = outside(path, &link).map_or(link, |file| format!("{REPOSITORY}{file}"));
        out.extend(["](".to_owned(), link, rest.to_owned()]);
    }
    out.concat()
}

/// The file of the repository that a link of this page leads to, if it is not a page of the book.
fn outside(page: &Path, link: &str) -> Option<String> {
    let mut place: PathBuf = Path::new("docs").join(page.parent()?);
    for step in Path::new(link).components() {
        match step {
            Component::ParentDir => {
                place.pop().then_some(())?;
            }
            step => place.push(step),
        }
    }
    (!place.starts_with("docs")).then(|| place.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_out_of_the_folder_lead_to_the_repository() {
        let page = "a [x](../charts/y.md#z) b [x](../sizing.md) [x](../../examples)";
        let deep = with_links(page, Path::new("reference/page.md"));
        assert_eq!(deep, format!("a [x](../charts/y.md#z) b [x](../sizing.md) [x]({REPOSITORY}examples)"));
        let flat = with_links(page, Path::new("page.md"));
        assert!(flat.starts_with(&format!("a [x]({REPOSITORY}charts/y.md#z) b [x]({REPOSITORY}sizing.md)")));
    }

    #[test]
    fn chapters_are_found_at_any_depth() {
        let chapter = |sub: Value| serde_json::json!({"Chapter": {"path": "a.md", "content": "[x](../b)", "sub_items": sub}});
        let mut book =
            serde_json::json!({"items": ["Separator", chapter(serde_json::json!([chapter(Value::Null)]))]});
        chapters(&mut book);
        assert_eq!(book.to_string().matches(REPOSITORY).count(), 2);
    }
}
