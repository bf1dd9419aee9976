//! A client's way from `StartupMessage` to its first `ReadyForQuery`.

use std::hash::{BuildHasher as _, RandomState};

use anyhow::{Context as _, Result, bail};
use pgpooler_core::scram::{self, Challenge, ExpectServerFinal, ExpectServerFirst, KeyCache};
use pgpooler_test_support::wire;

const PROTOCOL_3_0: u32 = 196_608;
/// No message of a login comes near it.
const MAX_MESSAGE: usize = 64 << 10;

/// Who logs in, with the expensive part of SCRAM done once.
#[derive(Debug)]
pub(crate) struct Credentials {
    user: String,
    password: String,
    database: String,
    keys: KeyCache,
}

/// A login under way.
#[derive(Debug)]
pub(crate) struct Login {
    state: State,
    input: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Asked,
    First(ExpectServerFirst),
    Final(ExpectServerFinal),
    Proven,
}

/// What a login says to bytes from the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It sends these and waits.
    Send(Vec<u8>),
    /// It waits.
    Wait,
    /// It is done.
    Ready,
}

impl Credentials {
    /// Of a role and a database.
    pub(crate) fn new(user: &str, password: &str, database: &str) -> Self {
        let [user, password, database] = [user, password, database].map(str::to_owned);
        Self { user, password, database, keys: KeyCache::default() }
    }

    fn answer(&mut self, challenge: Challenge) -> (Vec<u8>, ExpectServerFinal) {
        let keys = self.keys.find_or_derive(&self.password, &challenge.salt, challenge.iterations);
        challenge.respond(&keys)
    }
}

impl Login {
    /// Begins: the first bytes.
    pub(crate) fn begin(credentials: &Credentials) -> (Self, Vec<u8>) {
        let parameters = [("user", credentials.user.as_str()), ("database", &credentials.database)];
        (Self { state: State::Asked, input: Vec::new() }, wire::startup(PROTOCOL_3_0, &parameters))
    }

    /// Takes what the server has sent.
    pub(crate) fn receive(mut self, bytes: &[u8], credentials: &mut Credentials) -> Result<(Self, Step)> {
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let (mut rest, mut output) = (&input[..], Vec::new());
        while let Some((tag, body, tail)) = message(rest)? {
            rest = tail;
            match tag {
                b'R' => self = self.authenticate(body, credentials, &mut output)?,
                b'S' | b'K' | b'N' | b'v' => {}
                b'Z' => return Ok((self, Step::Ready)),
                b'E' => bail!("refused: {}", error(body)),
                other => bail!("unexpected {:?} in a login", char::from(other)),
            }
        }
        self.input = rest.to_vec();
        Ok((self, if output.is_empty() { Step::Wait } else { Step::Send(output) }))
    }

    fn authenticate(self, body: &[u8], credentials: &mut Credentials, output: &mut Vec<u8>) -> Result<Self> {
        let (code, body) =
            body.split_first_chunk::<4>().context("an authentication request without a code")?;
        let state = match (u32::from_be_bytes(*code), self.state) {
            (0, State::Asked | State::Proven) => State::Proven,
            (10, State::Asked) => {
                let (first, state) = ExpectServerFirst::start(nonce());
                let length = (first.len() as u32).to_be_bytes();
                let parts = [&wire::cstr(scram::SCRAM_SHA_256), length.as_slice(), &first];
                output.extend(wire::message(b'p', &parts.concat()));
                State::First(state)
            }
            (11, State::First(state)) => {
                let (last, state) = credentials.answer(state.receive(body)?);
                output.extend(wire::message(b'p', &last));
                State::Final(state)
            }
            (12, State::Final(state)) => {
                state.receive(body)?;
                State::Proven
            }
            (code, _) => bail!("authentication request {code} out of place"),
        };
        Ok(Self { state, ..self })
    }
}

/// A message's tag, its body and what follows it.
type Split<'a> = (u8, &'a [u8], &'a [u8]);

/// The first message, once it is whole.
fn message(bytes: &[u8]) -> Result<Option<Split<'_>>> {
    let Some(([tag, length @ ..], rest)) = bytes.split_first_chunk::<5>() else { return Ok(None) };
    let length = (u32::from_be_bytes(*length) as usize).checked_sub(4).context("a message's length")?;
    if length > MAX_MESSAGE {
        bail!("a message of {length} bytes in a login");
    }
    Ok(rest.split_at_checked(length).map(|(body, rest)| (*tag, body, rest)))
}

/// SQLSTATE and text of an `ErrorResponse`.
fn error(body: &[u8]) -> String {
    let fields = body.split(|byte| *byte == 0).filter_map(<[u8]>::split_first);
    let wanted = fields.filter(|(code, _)| matches!(code, b'C' | b'M'));
    wanted.map(|(_, text)| String::from_utf8_lossy(text)).collect::<Vec<_>>().join(" ")
}

fn nonce() -> String {
    // unique is enough for a test
    let random = RandomState::new();
    let mut bytes = [0; scram::NONCE_BYTES];
    for (at, chunk) in bytes.chunks_mut(8).enumerate() {
        let word = random.hash_one(at).to_be_bytes();
        chunk.iter_mut().zip(word).for_each(|(byte, random)| *byte = random);
    }
    scram::nonce(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_trusts_is_logged_in_to_at_once_however_its_bytes_are_split() {
        let bytes = [
            wire::message(b'R', &[0; 4]),
            wire::message(b'S', b"server_version\x0018\0"),
            wire::message(b'Z', b"I"),
        ]
        .concat();
        for at in 0..bytes.len() {
            let mut credentials = Credentials::new("u", "p", "d");
            let (login, _) = Login::begin(&credentials);
            let (left, right) = bytes.split_at(at);
            let (login, step) = login.receive(left, &mut credentials).unwrap();
            assert_eq!(step, Step::Wait, "{at}");
            assert_eq!(login.receive(right, &mut credentials).unwrap().1, Step::Ready);
        }
    }

    #[test]
    fn a_refusal_is_told_with_its_state_and_text() {
        let mut credentials = Credentials::new("u", "p", "d");
        let refusal = wire::message(b'E', b"SFATAL\0C53300\0Msorry, too many clients\0\0");
        let (login, _) = Login::begin(&credentials);
        let error = login.receive(&refusal, &mut credentials).unwrap_err().to_string();
        assert_eq!(error, "refused: 53300 sorry, too many clients");
    }
}
