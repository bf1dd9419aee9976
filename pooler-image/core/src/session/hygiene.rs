//! What a statement may leave behind on a server connection, as its command tag tells.

/// What must be wiped off before the next client; each level includes the ones above it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dirt {
    /// Nothing known.
    #[default]
    None,
    /// Session state: settings, cursors, LISTEN, temporary tables ...
    Session,
    /// Also prepared statements that are not in our books.
    Statements,
}

impl Dirt {
    /// What the command with this CommandComplete tag may have left.
    pub(super) fn of(tag: &[u8]) -> Self {
        match tag {
            b"PREPARE" | b"DEALLOCATE" | b"DEALLOCATE ALL" | b"DISCARD ALL" => Self::Statements,
            b"SET" | b"RESET" | b"LISTEN" | b"LOAD" | b"DECLARE CURSOR" => Self::Session,
            _ if tag.starts_with(b"CREATE ") => Self::Session,
            _ => Self::None,
        }
    }

    /// All statements of the session are gone.
    pub(super) fn drops_all_statements(tag: &[u8]) -> bool {
        matches!(tag, b"DEALLOCATE ALL" | b"DISCARD ALL")
    }

    pub(super) fn statements_are_suspect(self) -> bool {
        self == Self::Statements
    }

    /// What wipes it off. DISCARD ALL would take our own prepared statements with it, so it is used only
    /// where there may be others.
    pub(super) fn reset_sql(self) -> &'static str {
        match self {
            Self::None | Self::Session => {
                "SET SESSION AUTHORIZATION DEFAULT;RESET ALL;CLOSE ALL;UNLISTEN *;\
                 SELECT pg_catalog.pg_advisory_unlock_all();DISCARD TEMP;DISCARD SEQUENCES"
            }
            Self::Statements => "DISCARD ALL",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_tell_what_may_be_left() {
        for (tag, dirt) in [
            (&b"SELECT 1"[..], Dirt::None),
            (b"INSERT 0 1", Dirt::None),
            (b"SET", Dirt::Session),
            (b"CREATE TABLE", Dirt::Session),
            (b"PREPARE", Dirt::Statements),
            (b"DISCARD ALL", Dirt::Statements),
        ] {
            assert_eq!(Dirt::of(tag), dirt, "{}", String::from_utf8_lossy(tag));
        }
    }
}
