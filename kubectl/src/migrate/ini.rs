//! `pgbouncer.ini` as PgBouncer reads it: sections, `key = value` to the end of the line, comments only at the start of a
//! line, `%include` anywhere, keys of `[databases]` and `[users]` quoted as SQL identifiers where they must be.

use std::io;
use std::path::{Path, PathBuf};

/// PgBouncer gives up at this depth too.
const DEEPEST: usize = 10;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Name of the section, without brackets.
    pub(super) section: String,
    /// What stands in front of the equals sign, unquoted.
    pub(super) key: String,
    /// What stands behind it, without the space around.
    pub(super) value: String,
}

/// The file cannot be read as PgBouncer would.
#[derive(Debug, thiserror::Error)]
pub enum IniError {
    /// A file.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line.
    #[error("{path}, line {line}: {what}")]
    Syntax {
        /// Of which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Files include each other without end.
    #[error("{path} is included more than {DEEPEST} levels deep")]
    TooDeep {
        /// The last one.
        path: PathBuf,
    },
}

/// How files are read: an argument, so that nothing below needs a disk.
pub(super) type Reader<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// All settings of the file and of those that it includes, in order.
pub(super) fn read(path: &Path, reader: Reader<'_>) -> Result<Vec<Line>, IniError> {
    let mut parser = Parser { reader, section: None, lines: Vec::new() };
    parser.file(path, path, 0)?;
    Ok(parser.lines)
}

struct Parser<'a> {
    reader: Reader<'a>,
    /// A section goes on after an include, as in PgBouncer.
    section: Option<String>,
    lines: Vec<Line>,
}

impl Parser<'_> {
    /// `main`: the file that PgBouncer was given; names in it are relative to where PgBouncer ran, and people keep
    /// included files beside it.
    fn file(&mut self, path: &Path, main: &Path, depth: usize) -> Result<(), IniError> {
        if depth > DEEPEST {
            return Err(IniError::TooDeep { path: path.to_owned() });
        }
        let text = (self.reader)(path).or_else(|error| match beside(path, main) {
            Some(other) if error.kind() == io::ErrorKind::NotFound => {
                (self.reader)(&other).map_err(|_| error)
            }
            _ => Err(error),
        });
        let text = text.map_err(|source| IniError::Read { path: path.to_owned(), source })?;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if let Some(name) = included(line) {
                self.file(Path::new(name), main, depth + 1)?;
                continue;
            }
            let parsed = self.line(line);
            parsed.map_err(|what| IniError::Syntax { path: path.to_owned(), line: index + 1, what })?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        if line.is_empty() || line.starts_with(['#', ';']) {
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix('[') {
            let (name, rest) = rest.split_once(']').ok_or("a section needs a closing bracket")?;
            self.section = Some(name.to_owned());
            // what follows the bracket is read as a line of its own
            return self.line(rest.trim_start());
        }
        let (key, rest) = key(line)?;
        let value =
            rest.trim_start_matches([' ', '\t']).strip_prefix('=').ok_or("an equals sign is missing")?;
        let section = self.section.clone().ok_or("a setting stands before the first section")?;
        self.lines.push(Line { section, key, value: value.trim().to_owned() });
        Ok(())
    }
}

fn beside(path: &Path, main: &Path) -> Option<PathBuf> {
    let folder = main.parent().filter(|folder| !folder.as_os_str().is_empty())?;
    path.is_relative().then(|| folder.join(path))
}

fn included(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("%include")?;
    rest.starts_with([' ', '\t']).then(|| rest.trim()).filter(|name| !name.is_empty())
}

/// The key, and what follows it.
fn key(line: &str) -> Result<(String, &str), &'static str> {
    let Some(quoted) = line.strip_prefix('"') else {
        let end =
            line.find(|c: char| !c.is_ascii_alphanumeric() && !"_.-*".contains(c)).unwrap_or(line.len());
        return Ok((line[..end].to_owned(), &line[end..]));
    };
    let mut key = String::new();
    let mut rest = quoted;
    loop {
        let (part, tail) = rest.split_once('"').ok_or("a quoted name does not end")?;
        key.push_str(part);
        match tail.strip_prefix('"') {
            Some(tail) => {
                key.push('"');
                rest = tail;
            }
            None => return Ok((key, tail)),
        }
    }
}

/// A connection string: `key=value` with spaces between, values in single quotes where they need it, a quote in them
/// twice.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, tail) = rest.split_once('=').ok_or("a connection string is made of key=value")?;
        let key = key.trim_end();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err("a connection string is made of key=value");
        }
        let (value, tail) = value(tail.trim_start())?;
        if value.is_empty() {
            return Err("a value of a connection string is empty");
        }
        pairs.push((key.to_owned(), value));
        rest = tail.trim_start();
    }
    Ok(pairs)
}

fn value(text: &str) -> Result<(String, &str), &'static str> {
    let Some(quoted) = text.strip_prefix('\'') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return Ok((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut rest = quoted;
    loop {
        let (part, tail) = rest.split_once('\'').ok_or("a quoted value does not end")?;
        value.push_str(part);
        match tail.strip_prefix('\'') {
            Some(tail) => {
                value.push('\'');
                rest = tail;
            }
            None => return Ok((value, tail)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn files(path: &Path) -> io::Result<String> {
        let text = match path.to_str().unwrap() {
            "etc/main.ini" => {
                "; comment\n[databases]\r\n  a = host=h password='it''s; # all' \r\n%include more.ini\n\"b\"\"c d\"=dbname=x\n\
                 [pgbouncer] pool_mode = transaction\n# %include none.ini\nauth_query = SELECT 1 -- ; no comment\n"
            }
            "etc/more.ini" => "* = host=other\n",
            "loop.ini" => "%include loop.ini\n",
            "open.ini" => "[pgbouncer\n",
            "early.ini" => "a = b\n",
            "bare.ini" => "[pgbouncer]\n\na b\n",
            _ => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(text.to_owned())
    }

    fn failure(path: &str) -> String {
        read(Path::new(path), &files).unwrap_err().to_string()
    }

    #[test]
    fn a_file_is_read_as_pgbouncer_reads_it() {
        let lines = read(Path::new("etc/main.ini"), &files).unwrap();
        let shown: Vec<_> =
            lines.iter().map(|line| format!("{}/{}={}", line.section, line.key, line.value)).collect();
        assert_eq!(
            shown,
            [
                "databases/a=host=h password='it''s; # all'",
                "databases/*=host=other",
                "databases/b\"c d=dbname=x",
                "pgbouncer/pool_mode=transaction",
                "pgbouncer/auth_query=SELECT 1 -- ; no comment",
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_place() {
        assert_eq!(failure("none.ini"), "cannot read none.ini");
        assert_eq!(failure("loop.ini"), "loop.ini is included more than 10 levels deep");
        assert_eq!(failure("open.ini"), "open.ini, line 1: a section needs a closing bracket");
        assert_eq!(failure("early.ini"), "early.ini, line 1: a setting stands before the first section");
        assert_eq!(failure("bare.ini"), "bare.ini, line 3: an equals sign is missing");
    }

    #[test]
    fn connection_strings_have_quotes() {
        let read = |text| {
            pairs(text).map(|pairs| pairs.into_iter().map(|(k, v)| format!("{k}:{v}")).collect::<Vec<_>>())
        };
        assert_eq!(read("host=a  port = 5432 q='x '' y'").unwrap(), ["host:a", "port:5432", "q:x ' y"]);
        assert_eq!(read("").unwrap(), Vec::<String>::new());
        for bad in ["host", "a=''", "a='b", "a b=c", "=x"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
