//! `options` of a StartupMessage: a command line of the server program.

use crate::wire::{ErrorResponse, SqlState};

/// The settings in `options`, the last one when it was given more than once.
pub(super) fn settings(raw: &[(&str, &str)]) -> Result<Vec<(String, String)>, ErrorResponse> {
    let options = raw.iter().rev().find(|(name, _)| *name == "options");
    options.map_or_else(|| Ok(Vec::new()), |(_, options)| parse_switches(split_words(options)))
}

/// Splits at whitespace; a backslash takes the next character as it is (`pg_split_opts`).
fn split_words(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.get_or_insert_default().extend(characters.next()),
            _ if character.is_ascii_whitespace() || character == '\u{b}' => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// Reads switches as `process_postgres_switches` does.
fn parse_switches(words: Vec<String>) -> Result<Vec<(String, String)>, ErrorResponse> {
    let mut settings = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            // ends the switches
            return words.next().map_or(Ok(settings), |word| Err(switch_error(&word)));
        }
        if let Some(long) = word.strip_prefix("--") {
            settings.push(parse_setting(long, "--")?);
            continue;
        }
        let mut letters = word.strip_prefix('-').map(str::chars).ok_or_else(|| switch_error(&word))?;
        let letter = letters.next().ok_or_else(|| switch_error(&word))?;
        let attached = letters.as_str();
        match Switch::of(letter) {
            Some(Switch::Nothing) if attached.is_empty() => {}
            Some(Switch::Flag(name, value)) if attached.is_empty() => {
                settings.push((name.to_owned(), value.to_owned()));
            }
            Some(switch @ (Switch::Setting | Switch::Value(_) | Switch::Plan | Switch::Ignored)) => {
                let next = if attached.is_empty() { words.next() } else { Some(attached.to_owned()) };
                let argument = next.ok_or_else(|| switch_error(&word))?;
                match switch {
                    Switch::Value(name) => settings.push((name.to_owned(), argument)),
                    Switch::Plan => {
                        let name = plan(&argument).ok_or_else(|| switch_error(&word))?;
                        settings.push((name.to_owned(), "false".to_owned()));
                    }
                    Switch::Ignored => {}
                    _ => settings.push(parse_setting(&argument, "-c ")?),
                }
            }
            _ => return Err(switch_error(&word)),
        }
    }
    Ok(settings)
}

/// The setting of a kind of plan, by the letter that `-f` takes.
fn plan(kind: &str) -> Option<&'static str> {
    Some(match kind.chars().next()? {
        's' => "enable_seqscan",
        'i' => "enable_indexscan",
        'o' => "enable_indexonlyscan",
        'b' => "enable_bitmapscan",
        't' => "enable_tidscan",
        'n' => "enable_nestloop",
        'm' => "enable_mergejoin",
        'h' => "enable_hashjoin",
        _ => return None,
    })
}

/// What a letter behind a dash means.
#[derive(Debug, Clone, Copy)]
enum Switch {
    /// `name=value` follows.
    Setting,
    /// The value of this setting follows.
    Value(&'static str),
    /// A kind of plan to avoid follows.
    Plan,
    /// Something follows that means nothing to a session.
    Ignored,
    /// Means nothing to a session.
    Nothing,
    /// This setting and value.
    Flag(&'static str, &'static str),
}

impl Switch {
    /// The switches that set something; the others are for whoever starts the server.
    fn of(letter: char) -> Option<Self> {
        Some(match letter {
            'c' => Self::Setting,
            'B' => Self::Value("shared_buffers"),
            'e' => Self::Flag("datestyle", "euro"),
            'b' | 'E' | 'j' | 'n' | 'T' => Self::Nothing,
            'C' | 'D' | 'r' | 'v' => Self::Ignored,
            'f' => Self::Plan,
            'i' => Self::Flag("listen_addresses", "*"),
            'F' => Self::Flag("fsync", "false"),
            'h' => Self::Value("listen_addresses"),
            'k' => Self::Value("unix_socket_directories"),
            'l' => Self::Flag("ssl", "true"),
            'N' => Self::Value("max_connections"),
            'O' => Self::Flag("allow_system_table_mods", "true"),
            'p' => Self::Value("port"),
            'S' => Self::Value("work_mem"),
            's' => Self::Flag("log_statement_stats", "true"),
            _ => return None,
        })
    }
}

/// `name=value` with dashes in the name for underscores.
fn parse_setting(argument: &str, switch: &str) -> Result<(String, String), ErrorResponse> {
    match argument.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.replace('-', "_"), value.to_owned())),
        _ => {
            let told = format!("{switch}{argument} requires a value");
            Err(ErrorResponse::fatal(SqlState::SYNTAX_ERROR, told))
        }
    }
}

fn switch_error(word: &str) -> ErrorResponse {
    let told = format!("invalid command-line argument for server process: {word}");
    ErrorResponse::fatal(SqlState::SYNTAX_ERROR, told).hint("Try \"postgres --help\" for more information.")
}

#[cfg(test)]
mod tests {
    use super::{parse_switches, split_words};

    fn settings(options: &str) -> Result<Vec<(String, String)>, String> {
        parse_switches(split_words(options)).map_err(|error| error.message.into_owned())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn every_form_of_a_switch_gives_a_setting() {
        let read = settings("-c geqo=off --work-mem=64MB\t-cstatement_timeout=5min  --a.b=x=y").unwrap();
        let expected = [("geqo", "off"), ("work_mem", "64MB"), ("statement_timeout", "5min"), ("a.b", "x=y")];
        assert_eq!(read, pairs(&expected));
    }

    #[test]
    fn the_letters_of_the_server_program_set_what_they_set_there() {
        let expected = [("datestyle", "euro"), ("work_mem", "64"), ("log_statement_stats", "true")];
        assert_eq!(settings("-e -S 64 -s").unwrap(), pairs(&expected));
        assert_eq!(settings("-S64").unwrap(), pairs(&[("work_mem", "64")]));
        let expected = [("enable_seqscan", "false"), ("enable_hashjoin", "false")];
        assert_eq!(settings("-fs -n -D nowhere -f h").unwrap(), pairs(&expected));
        assert!(settings("-fz").is_err());
    }

    #[test]
    fn a_backslash_takes_the_next_character_as_it_is() {
        assert_eq!(settings(r"-c a=x\ y\\z --b=\-").unwrap(), pairs(&[("a", r"x y\z"), ("b", "-")]));
        assert_eq!(settings("  ").unwrap(), []);
        assert_eq!(settings("-c a=b\\").unwrap(), pairs(&[("a", "b")]));
    }

    #[test]
    fn dashes_in_a_value_stay() {
        assert_eq!(settings("-c time-zone=Etc/GMT-1").unwrap(), pairs(&[("time_zone", "Etc/GMT-1")]));
    }

    #[test]
    fn other_switches_are_refused_as_postgresql_does() {
        let told = "invalid command-line argument for server process: ";
        assert_eq!(settings("-Z"), Err(format!("{told}-Z")));
        assert_eq!(settings("-c"), Err(format!("{told}-c")));
        assert_eq!(settings("geqo=off"), Err(format!("{told}geqo=off")));
        assert_eq!(settings("--geqo"), Err("--geqo requires a value".to_owned()));
        assert_eq!(settings("-c a=b --"), Ok(pairs(&[("a", "b")])));
        assert_eq!(settings("-- -ca=b"), Err(format!("{told}-ca=b")));
        assert_eq!(settings("-c geqo"), Err("-c geqo requires a value".to_owned()));
    }
}
