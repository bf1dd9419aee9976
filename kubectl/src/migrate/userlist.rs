//! PgBouncer's `auth_file`: `"name" "secret"` a line, a quote inside written twice, the rest of the line ignored.

use std::fmt;

/// A user of the list.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct User {
    /// Name.
    pub(super) name: String,
    /// Password in plain text, `md5...` or `SCRAM-SHA-256$...`; never printed unless asked for.
    pub(super) secret: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a secret can be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// To log in anywhere.
    Plain,
    /// To log in where PostgreSQL has the same md5 hash.
    Md5,
    /// To log in with the keys of a client that logs in.
    Scram,
    /// There is none.
    Missing,
}

impl User {
    /// What its secret can be used for.
    pub(super) fn kind(&self) -> Kind {
        let is_md5 = |hash: &str| hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        if self.secret.is_empty() {
            Kind::Missing
        } else if self.secret.starts_with("SCRAM-SHA-256$") {
            Kind::Scram
        } else if self.secret.strip_prefix("md5").is_some_and(is_md5) {
            Kind::Md5
        } else {
            Kind::Plain
        }
    }
}

/// The list is broken; PgBouncer stops reading there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}, line {line}: a line is \"name\" \"secret\", both in double quotes")]
pub struct UserlistError {
    /// Of which file.
    pub path: String,
    /// Counted from 1.
    pub line: usize,
}

/// All users, in order; of several with one name the last counts.
pub(super) fn parse(path: &str, text: &str) -> Result<Vec<User>, UserlistError> {
    let mut users: Vec<User> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(';') {
            continue;
        }
        let user = user(line).ok_or_else(|| UserlistError { path: path.to_owned(), line: index + 1 })?;
        users.retain(|other| other.name != user.name);
        users.push(user);
    }
    Ok(users)
}

fn user(line: &str) -> Option<User> {
    let (name, rest) = quoted(line.strip_prefix('"')?)?;
    let (secret, _) = quoted(rest.trim_start().strip_prefix('"')?)?;
    Some(User { name, secret })
}

/// Up to the closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (part, tail) = rest.split_once('"')?;
        value.push_str(part);
        match tail.strip_prefix('"') {
            Some(tail) => {
                value.push('"');
                rest = tail;
            }
            None => return Some((value, tail)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_list_is_read_as_pgbouncer_reads_it() {
        let text = "; users\n\"app\" \"s3\"\"cret\" ignored\n\n  \"b c\"\t\"\"\n\"app\" \"new\"\n";
        let users = parse("userlist.txt", text).unwrap();
        let shown: Vec<_> = users.iter().map(|user| (user.name.as_str(), user.secret.as_str())).collect();
        assert_eq!(shown, [("b c", ""), ("app", "new")]);
        assert!(!format!("{users:?}").contains("new"), "a secret is never printed");
    }

    #[test]
    fn secrets_are_told_apart() {
        let kind = |secret: &str| User { name: "a".into(), secret: secret.into() }.kind();
        assert_eq!(kind("md545f2603610af569b6155c45067268c6b"), Kind::Md5);
        assert_eq!(kind("md5isgreat"), Kind::Plain);
        assert_eq!(kind("SCRAM-SHA-256$4096:c2FsdA==$a:b"), Kind::Scram);
        assert_eq!(kind(""), Kind::Missing);
    }

    #[test]
    fn a_broken_line_is_named() {
        for bad in ["app secret", "\"app\"", "\"app\" \"open"] {
            let error = parse("u.txt", &format!("\"a\" \"b\"\n{bad}\n")).unwrap_err();
            assert_eq!(error.line, 2, "{bad}");
        }
    }
}
