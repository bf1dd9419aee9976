//! Rust sources as the rules of `architecture.rs` want to see them: without comments, strings and tests.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// One file, with everything but its code blanked out.
pub(crate) struct Source {
    /// Path from the root of the repository.
    pub(crate) path: String,
    /// Path of its module inside the crate; empty for `lib.rs` and `main.rs`.
    pub(crate) module: Vec<String>,
    /// Its code.
    pub(crate) code: String,
    /// Lines that are not tests.
    pub(crate) lines: usize,
}

impl Source {
    /// Reads a source; `path` is from the root of the repository.
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let bare = blank_comments_and_strings(text);
        let (code, test_lines) = blank_tests(&bare);
        let inside = path.rsplit_once("src/").map_or(path, |(_, inside)| inside).trim_end_matches(".rs");
        let mut module: Vec<String> = inside.split('/').map(str::to_owned).collect();
        module.pop_if(|last| matches!(last.as_str(), "lib" | "main" | "mod"));
        Self { path: path.to_owned(), module, code, lines: text.lines().count() - test_lines }
    }

    /// Every path the code names, `use` trees flattened.
    pub(crate) fn paths(&self) -> Vec<Vec<String>> {
        let (mut paths, mut outside, mut rest) = (Vec::new(), String::new(), self.code.as_str());
        while let Some(start) = find_word(rest, "use") {
            let tree = &rest[start + "use".len()..];
            let captures_lifetimes = tree.starts_with('<');
            let end = if captures_lifetimes { 0 } else { tree.find(';').unwrap_or(tree.len()) };
            flatten(&mut Vec::new(), &tree[..end], &mut paths);
            outside.push_str(&rest[..start]);
            rest = &tree[end..];
        }
        outside.push_str(rest);
        let part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let named = outside.split(|c: char| !part(c)).filter(|word| word.contains("::"));
        paths.extend(named.map(segments));
        paths
    }

    /// The module of this crate, one below its root, that a path leads to.
    pub(crate) fn resolve(&self, path: &[String]) -> Option<String> {
        let ups = path.iter().take_while(|segment| *segment == "super").count();
        match path.first()?.as_str() {
            "crate" => path.get(1).cloned(),
            "super" if ups > self.module.len() => None,
            "super" => {
                let above = &self.module[..self.module.len() - ups];
                above.first().or_else(|| path.get(ups)).cloned()
            }
            _ => None,
        }
    }
}

fn flatten(prefix: &mut Vec<String>, tree: &str, paths: &mut Vec<Vec<String>>) {
    let Some((head, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        paths.push(prefix.iter().cloned().chain(segments(path)).collect());
        return;
    };
    let depth = prefix.len();
    prefix.extend(segments(head));
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let mut level = 0_usize;
    let branches = inner.split(|c: char| {
        level += usize::from(c == '{');
        level -= usize::from(c == '}' && level > 0);
        c == ',' && level == 0
    });
    for branch in branches.filter(|branch| !branch.trim().is_empty()) {
        flatten(prefix, branch, paths);
    }
    prefix.truncate(depth);
}

fn segments(path: &str) -> Vec<String> {
    path.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Whether the code has this word, not as part of another.
pub(crate) fn has_word(code: &str, word: &str) -> bool {
    find_word(code, word).is_some()
}

fn find_word(code: &str, word: &str) -> Option<usize> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = code.match_indices(word).map(|(at, _)| at);
    found.find(|at| !code[..*at].ends_with(part) && !code[at + word.len()..].starts_with(part))
}

/// The same text with every comment, string and character literal turned into spaces.
fn blank_comments_and_strings(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none begins there.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = |ahead: usize| chars.get(at + ahead).copied().unwrap_or_default();
    let until = |from: usize, done: &dyn Fn(usize) -> bool| {
        (from..chars.len()).find(|position| done(*position)).unwrap_or(chars.len())
    };
    match (chars[at], next(1)) {
        ('/', '/') => until(at, &|position| chars[position] == '\n'),
        ('/', '*') => block_comment_end(chars, at),
        ('"', _) => quoted_end(chars, at + 1, '"'),
        ('r', '"' | '#') if !after_word(chars, at) => {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            if next(1 + hashes) != '"' {
                return at;
            }
            let closes = |position: usize| {
                let tail = &chars[position + 1..];
                chars[position] == '"' && tail.iter().take(hashes).filter(|c| **c == '#').count() == hashes
            };
            (until(at + 2 + hashes, &closes) + 1 + hashes).min(chars.len())
        }
        ('\'', '\\') => quoted_end(chars, at + 1, '\''),
        ('\'', _) if next(2) == '\'' => at + 3,
        _ => at,
    }
}

fn after_word(chars: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).map_or(' ', |before| chars[before]);
    (before.is_alphanumeric() || before == '_') && before != 'b' && before != 'c'
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while at < chars.len() {
        match chars.get(at..at + 2) {
            Some(['/', '*']) => (at, depth) = (at + 2, depth + 1),
            Some(['*', '/']) if depth == 1 => return at + 2,
            Some(['*', '/']) => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    chars.len()
}

fn quoted_end(chars: &[char], start: usize, quote: char) -> usize {
    let mut at = start;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// The same code with every item under `#[cfg(test)]` turned into spaces, and how many lines those had.
fn blank_tests(code: &str) -> (String, usize) {
    if code.contains("#![cfg(test)]") {
        return (String::new(), code.lines().count());
    }
    let (mut kept, mut lines, mut rest) = (String::with_capacity(code.len()), 0, code);
    while let Some(start) = ["#[cfg(test)]", "#[cfg(all(test"].iter().filter_map(|a| rest.find(a)).min() {
        let end = start + item_end(&rest[start..]);
        kept.push_str(&rest[..start]);
        kept.extend(rest[start..end].chars().filter(|c| *c == '\n'));
        lines += rest[start..end].lines().count();
        rest = &rest[end..];
    }
    kept.push_str(rest);
    (kept, lines)
}

/// Where an item ends, its attributes included: at a `;` or a `}` outside all brackets.
fn item_end(item: &str) -> usize {
    let mut depth = 0_i32;
    for (at, c) in item.char_indices() {
        depth += i32::from(matches!(c, '(' | '[' | '{')) - i32::from(matches!(c, ')' | ']' | '}'));
        if depth == 0 && matches!(c, ';' | '}') {
            return at + 1;
        }
    }
    item.len()
}

// The tree on disk.

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every source below these folders, tests left out; `FOLDER.rs` counts as part of a folder.
pub(crate) fn sources(folders: &[&str]) -> io::Result<Vec<Source>> {
    let mut files = Vec::new();
    for folder in folders {
        walk(&root().join(folder), &mut files)?;
        let file = root().join(format!("{folder}.rs"));
        files.extend(file.is_file().then_some(file));
    }
    files.sort();
    let root = root();
    let read = |file: PathBuf| {
        let path = file.strip_prefix(&root).unwrap_or(&file).to_string_lossy().into_owned();
        fs::read_to_string(&file).map(|text| Source::parse(&path, &text))
    };
    files.into_iter().map(read).collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !matches!(name.as_ref(), "target" | "tests" | "fuzz" | "benches") {
            walk(&path, files)?;
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}
