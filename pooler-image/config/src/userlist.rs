//! Users and their secrets in the format of PgBouncer's `userlist.txt`.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::Secret;

/// Users and their secrets: `"name" "secret"` a line, `""` for a quote inside, `;` in front of a comment.
///
/// As in PgBouncer, what follows the second string on a line is ignored and the last line of a user wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Userlist {
    users: BTreeMap<String, UserSecret>,
}

/// What the list knows of a user's password, told apart by its form as PostgreSQL and PgBouncer do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserSecret {
    /// The password.
    Plain(Secret),
    /// `md5` and 32 hexadecimal digits, as PostgreSQL stores it.
    Md5(Secret),
    /// `SCRAM-SHA-256$iterations:salt$stored key:server key`, as PostgreSQL stores it.
    Scram(Secret),
}

/// A line that is not of the format. It never quotes the line: there are passwords in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the user list: {fault}")]
pub struct UserlistError {
    /// The line, counted from one.
    pub line: usize,
    /// What is wrong with it.
    pub fault: UserlistFault,
}

/// What can be wrong with a line of a user list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UserlistFault {
    /// The name does not start with a quote.
    #[error("expected a user name in double quotes")]
    NoName,
    /// No quoted secret behind the name.
    #[error("expected a secret in double quotes after the user name")]
    NoSecret,
    /// A string runs to the end of the line.
    #[error("a double quote is missing at the end of a string")]
    Unclosed,
    /// A name without a character.
    #[error("the user name is empty")]
    EmptyName,
    /// A zero byte, which no PostgreSQL string can hold.
    #[error("a string has a zero byte in it")]
    ZeroByte,
}

impl Userlist {
    /// Reads a list.
    pub fn parse(text: &str) -> Result<Self, UserlistError> {
        let mut list = Self::default();
        for (index, line) in text.split('\n').enumerate() {
            let at = |fault| UserlistError { line: index + 1, fault };
            if let Some((name, secret)) = parse_line(line).map_err(at)? {
                list.insert(name, UserSecret::of(secret));
            }
        }
        Ok(list)
    }

    /// Adds a user, or replaces the user's secret.
    pub fn insert(&mut self, user: impl Into<String>, secret: UserSecret) {
        self.users.insert(user.into(), secret);
    }

    /// What is known of a user.
    pub fn lookup(&self, user: &str) -> Option<&UserSecret> {
        self.users.get(user)
    }

    /// All users, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &UserSecret)> {
        self.users.iter().map(|(user, secret)| (user.as_str(), secret))
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there is no user.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Writes the list, by name. A line break cannot be written in this format: such a user is left out, as is
    /// one with a zero byte.
    pub fn render(&self) -> Secret {
        let mut text = String::new();
        for (user, secret) in self.iter() {
            let secret = secret.expose();
            if user.is_empty() || [user, secret].iter().any(|part| part.contains(['\n', '\0'])) {
                continue;
            }
            // writing to a String cannot fail
            let _ = writeln!(text, "\"{}\" \"{}\"", user.replace('"', "\"\""), secret.replace('"', "\"\""));
        }
        Secret::new(text)
    }
}

impl UserSecret {
    /// Tells the three forms apart; what is neither a proper md5 hash nor a proper verifier is a password.
    pub fn of(secret: impl Into<String>) -> Self {
        let secret = secret.into();
        if is_md5(&secret) {
            Self::Md5(Secret::new(secret))
        } else if is_scram(&secret) {
            Self::Scram(Secret::new(secret))
        } else {
            Self::Plain(Secret::new(secret))
        }
    }

    /// The string as in the list.
    pub fn expose(&self) -> &str {
        match self {
            Self::Plain(secret) | Self::Md5(secret) | Self::Scram(secret) => secret.expose(),
        }
    }
}

fn parse_line(line: &str) -> Result<Option<(String, String)>, UserlistFault> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with(';') {
        return Ok(None);
    }
    let name = line.strip_prefix('"').ok_or(UserlistFault::NoName)?;
    let (name, rest) = quoted(name)?;
    let secret = rest.trim_ascii_start().strip_prefix('"').ok_or(UserlistFault::NoSecret)?;
    let (secret, _ignored) = quoted(secret)?;
    if name.is_empty() {
        return Err(UserlistFault::EmptyName);
    }
    if name.contains('\0') || secret.contains('\0') {
        return Err(UserlistFault::ZeroByte);
    }
    Ok(Some((name, secret)))
}

/// Reads up to the closing quote; gives the string and what follows it.
fn quoted(mut text: &str) -> Result<(String, &str), UserlistFault> {
    let mut string = String::new();
    loop {
        let (part, rest) = text.split_once('"').ok_or(UserlistFault::Unclosed)?;
        string.push_str(part);
        match rest.strip_prefix('"') {
            Some(after) => {
                string.push('"');
                text = after;
            }
            None => return Ok((string, rest)),
        }
    }
}

fn is_md5(secret: &str) -> bool {
    let digits = secret.strip_prefix("md5").map(str::as_bytes);
    digits.is_some_and(|digits| digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit))
}

fn is_scram(secret: &str) -> bool {
    let parts = || {
        let (parameters, keys) = secret.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let counted = iterations.bytes().all(|b| b.is_ascii_digit()) && iterations.parse::<u32>().ok()? > 0;
        Some(counted && is_base64(salt) && is_key(stored_key) && is_key(server_key))
    };
    parts().unwrap_or(false)
}

/// 32 bytes in base64.
fn is_key(text: &str) -> bool {
    text.len() == 44 && is_base64(text) && text.ends_with('=') && !text.ends_with("==")
}

fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    text.len().is_multiple_of(4)
        && !digits.is_empty()
        && text.len() - digits.len() <= 2
        && digits.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    fn fault(text: &str) -> (usize, UserlistFault) {
        let error = Userlist::parse(text).unwrap_err();
        (error.line, error.fault)
    }

    #[test]
    fn names_and_secrets_are_read_with_doubled_quotes_and_comments() {
        let list = Userlist::parse(
            "; people\n\"ann\" \"secret\"\r\n\n  \"b\"\"ob\"\t\"pass \"\"word\"\"\" rest of line\n\"empty\" \"\"",
        )
        .unwrap();
        assert_eq!(list.lookup("ann"), Some(&UserSecret::Plain(Secret::new("secret"))));
        assert_eq!(list.lookup("b\"ob").map(UserSecret::expose), Some("pass \"word\""));
        assert_eq!(list.lookup("empty").map(UserSecret::expose), Some(""));
        assert_eq!(list.lookup("nobody"), None);
        assert_eq!(list.len(), 3);
    }

    #[test]
    fn the_last_line_of_a_user_wins() {
        let list = Userlist::parse("\"a\" \"1\"\n\"a\" \"2\"\n").unwrap();
        assert_eq!(list.lookup("a").map(UserSecret::expose), Some("2"));
    }

    #[test]
    fn the_form_of_a_secret_tells_its_kind() {
        let md5 = "md5".to_owned() + &"0123456789abcdef".repeat(2);
        assert!(matches!(UserSecret::of(md5.clone()), UserSecret::Md5(_)));
        assert!(matches!(UserSecret::of(&md5[1..]), UserSecret::Plain(_)));
        assert!(matches!(UserSecret::of("md5tooshort"), UserSecret::Plain(_)));
        assert!(matches!(UserSecret::of(VERIFIER), UserSecret::Scram(_)));
        assert!(matches!(UserSecret::of(&VERIFIER[..VERIFIER.len() - 1]), UserSecret::Plain(_)));
        assert!(matches!(UserSecret::of("SCRAM-SHA-256$x:y$z:w"), UserSecret::Plain(_)));
    }

    #[test]
    fn a_malformed_line_is_refused_with_its_number() {
        assert_eq!(fault("\"a\" \"b\"\nann secret"), (2, UserlistFault::NoName));
        assert_eq!(fault("\n\n\"ann\" secret"), (3, UserlistFault::NoSecret));
        assert_eq!(fault("\"ann\""), (1, UserlistFault::NoSecret));
        assert_eq!(fault("\"ann\" \"sec"), (1, UserlistFault::Unclosed));
        assert_eq!(fault("\"ann\" \"sec\"\""), (1, UserlistFault::Unclosed));
        assert_eq!(fault("\"\" \"x\""), (1, UserlistFault::EmptyName));
    }

    #[test]
    fn an_error_does_not_show_the_line() {
        let message = Userlist::parse("\"ann\" \"hunter2").unwrap_err().to_string();
        assert_eq!(message, "line 1 of the user list: a double quote is missing at the end of a string");
    }

    #[test]
    fn debug_output_hides_the_secrets() {
        let shown = format!("{:?}", Userlist::parse("\"ann\" \"hunter2\"").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
