//! Whether what a client sends is only its pool's test that the connection is still there.
//!
//! Such a test is the one message that may be answered with the end of the connection: whoever sends it is prepared
//! for that, and takes another connection. Recognised are a Query that is empty or only white space, semicolons and
//! comments, a lone Sync, and a batch of the extended protocol that executes nothing but such a text, also by the name
//! of a statement that was prepared before.

use super::Client;
use super::interner::text_of;
use crate::sql;
use crate::wire::Header;
use crate::wire::frontend as tag;

/// Longer ones are taken for no test: nobody waits for the rest of a large message.
const LONGEST: usize = 4 * 1024;

/// Type byte and length.
const HEADER: usize = 5;

/// What the bytes are that a client has sent since its last reply, from the first on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// A test, whole, with nothing behind it.
    Test,
    /// The beginning of what may yet be one; PostgreSQL would not answer it before more has come.
    Unfinished,
    /// Something else, whatever follows.
    Other,
}

/// The part of a batch that has been read.
#[derive(Debug, Clone, Copy, Default)]
struct Batch<'i> {
    messages: usize,
    /// The name that its last Parse gave, all of them being of empty texts; drivers bind what they have just parsed.
    parsed: Option<&'i [u8]>,
    /// The portal of the last Bind, of an empty statement.
    portal: Option<&'i [u8]>,
    executed: bool,
}

impl Liveness {
    /// What `input` is, coming from a client outside of a transaction that is owed nothing.
    pub fn of(client: &Client, input: &[u8]) -> Self {
        let mut batch = Batch::default();
        let mut rest = input;
        loop {
            // a faulty length is answered by those whose task that is
            let Ok(header) = Header::parse(rest) else { return Self::Other };
            let Some(header) = header else { return unfinished(rest) };
            if input.len() - rest.len() + header.total() > LONGEST || !is_of_a_test(header.tag) {
                return Self::Other;
            }
            let Some(body) = rest.get(HEADER..header.total()) else { return Self::Unfinished };
            rest = rest.get(header.total()..).unwrap_or_default();
            match batch.message(client, header.tag, body) {
                Some(Self::Test) if rest.is_empty() => return Self::Test,
                Some(Self::Unfinished) => {}
                _ => return Self::Other,
            }
        }
    }
}

/// Of a message whose length has not come.
fn unfinished(rest: &[u8]) -> Liveness {
    match rest.first() {
        Some(first) if !is_of_a_test(*first) => Liveness::Other,
        _ => Liveness::Unfinished,
    }
}

fn is_of_a_test(message_tag: u8) -> bool {
    matches!(
        message_tag,
        tag::QUERY | tag::SYNC | tag::PARSE | tag::BIND | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE
    )
}

impl<'i> Batch<'i> {
    /// What the batch is with this message; `None`: not what a test has.
    fn message(&mut self, client: &Client, message_tag: u8, body: &'i [u8]) -> Option<Liveness> {
        let is_first = self.messages == 0;
        self.messages += 1;
        match message_tag {
            tag::QUERY => {
                return (is_first && sql::is_empty(body.strip_suffix(b"\0")?)).then_some(Liveness::Test);
            }
            tag::SYNC => {
                return (body.is_empty() && (is_first || self.executed)).then_some(Liveness::Test);
            }
            tag::PARSE => {
                let (name, definition) = string(body)?;
                self.parsed = sql::is_empty(text_of(definition)).then_some(name);
                self.parsed?;
            }
            tag::BIND => {
                let (portal, rest) = string(body)?;
                let (statement, _) = string(rest)?;
                let known = self.parsed == Some(statement) || client.knows_as_empty(statement);
                self.portal = known.then_some(portal);
                self.portal?;
            }
            tag::EXECUTE => {
                self.executed = self.portal == Some(string(body)?.0);
                self.executed.then_some(())?;
            }
            // what they say or close does nothing else
            _ => {}
        }
        Some(Liveness::Unfinished)
    }
}

impl Client {
    /// Whether a statement that it has prepared has a text that does nothing.
    fn knows_as_empty(&self, name: &[u8]) -> bool {
        match self.unnamed.as_ref().filter(|_| name.is_empty()) {
            Some(unnamed) => unnamed.is_empty(),
            None => self.statements.get(name).is_some_and(|known| known.statement.is_empty()),
        }
    }
}

/// The zero-terminated string in front, and what follows it.
fn string(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = body.iter().position(|byte| *byte == 0)?;
    Some((body.get(..end)?, body.get(end + 1..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::session::{Naming, SessionState, Settings};
    use crate::wire::frontend;

    fn client() -> Client {
        Client::new(Naming::Shared, Settings::default(), SessionState::Pin)
    }

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    fn query(text: &str) -> Vec<u8> {
        written(|out| frontend::query(out, text))
    }

    fn batch(text: &str) -> Vec<u8> {
        written(|out| {
            frontend::parse(out, "", text, &[]);
            frontend::bind(out, "", "");
            frontend::execute(out, "");
            frontend::sync(out);
        })
    }

    fn tests() -> Vec<Vec<u8>> {
        vec![
            query(""),
            query(" ;\n; "),
            query("-- ping"),
            query("/* app=orders */"),
            written(frontend::sync),
            batch(""),
            batch("-- ping"),
            written(|out| {
                frontend::close_statement(out, "old");
                frontend::parse(out, "s1", ";", &[]);
                frontend::bind(out, "p", "s1");
                frontend::execute(out, "p");
                frontend::sync(out);
            }),
        ]
    }

    fn others() -> Vec<Vec<u8>> {
        vec![
            query("select 1"),
            query("-- ping\nselect 1"),
            query(";;commit"),
            batch("select 1"),
            written(|out| {
                frontend::parse(out, "", "", &[]);
                frontend::sync(out);
            }),
            written(|out| {
                frontend::close_statement(out, "old");
                frontend::sync(out);
            }),
            written(|out| {
                frontend::parse(out, "", "", &[]);
                frontend::flush(out);
            }),
            written(|out| {
                frontend::bind(out, "", "unknown");
                frontend::execute(out, "");
                frontend::sync(out);
            }),
            written(|out| {
                frontend::parse(out, "", "", &[]);
                frontend::bind(out, "", "");
                frontend::execute(out, "another");
                frontend::sync(out);
            }),
            query(&format!("-- {}", "x".repeat(LONGEST))),
            written(frontend::terminate),
            b"Q\0\0\0\x02".to_vec(),
        ]
    }

    #[test]
    fn what_pools_test_connections_with_is_recognised() {
        for test in tests() {
            assert_eq!(Liveness::of(&client(), &test), Liveness::Test, "{test:?}");
        }
    }

    #[test]
    fn what_does_something_or_only_prepares_is_no_test() {
        for other in others() {
            assert_eq!(Liveness::of(&client(), &other), Liveness::Other, "{other:?}");
        }
    }

    #[test]
    fn of_a_large_message_the_header_is_enough() {
        assert_eq!(Liveness::of(&client(), b"Q\0\x10\0\0sel"), Liveness::Other);
        assert_eq!(Liveness::of(&client(), b"d"), Liveness::Other);
    }

    proptest! {
        #[test]
        fn a_test_in_pieces_is_unfinished_until_it_is_whole(which in 0..tests().len(), cut in 0.0..1.0_f64) {
            let test = &tests()[which];
            let cut = (test.len() as f64 * cut) as usize;
            prop_assert_eq!(Liveness::of(&client(), &test[..cut]), Liveness::Unfinished);
        }

        #[test]
        fn with_anything_behind_it_it_is_no_test(which in 0..tests().len(), more in 1..200_u8) {
            let bytes = [&tests()[which][..], &[more]].concat();
            prop_assert_eq!(Liveness::of(&client(), &bytes), Liveness::Other);
        }

        #[test]
        fn what_is_another_thing_stays_one(which in 0..others().len(), more in prop::collection::vec(any::<u8>(), 0..40)) {
            let bytes = [&others()[which][..], &more].concat();
            prop_assert_eq!(Liveness::of(&client(), &bytes), Liveness::Other);
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Liveness::of(&client(), &bytes);
        }
    }
}
