//! Our own login to a server, without sockets: from StartupMessage to the first ReadyForQuery.

mod credential;

use crate::scram::{
    Binding, EndPoint, ExpectServerFinal, ExpectServerFirst, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramError,
};
use crate::wire::backend::{self, authentication};
use crate::wire::{
    CancelKey, ErrorFields, FrameError, Header, ReadError, Reader, SqlState, TransactionStatus, frontend,
    split_message,
};

pub use credential::Credential;

/// The longest message that a server may send before we are logged in.
const MAX_MESSAGE: u32 = 1 << 20;

/// Awaits the server's next messages.
#[derive(Debug)]
#[must_use = "a login goes on until it gives a session or an error"]
pub struct Login {
    state: State,
    session: LoggedIn,
}

#[derive(Debug)]
enum State {
    /// The server has not asked for anything; the nonce is for the case that it asks for SCRAM.
    Authentication {
        nonce: String,
        end_point: Option<EndPoint>,
    },
    ServerFirst(ExpectServerFirst),
    ServerFinal(ExpectServerFinal),
    /// Our proof is sent or the server's is checked.
    Ok,
    Ready,
}

/// A session of our own on a server.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LoggedIn {
    /// The parameters that the server reported, in its order and spelling.
    pub parameters: Vec<(String, String)>,
    /// What cancels the session's queries; some proxies give none.
    pub backend_key: Option<CancelKey>,
}

/// What a server's bytes led to.
#[derive(Debug)]
#[must_use = "a login goes on until it gives a session or an error"]
pub enum LoginStep {
    /// More bytes are needed.
    More(Login),
    /// Logged in and idle.
    Done(LoggedIn),
    /// The connection is of no use; its slot is taken until EOF.
    Failed(LoginError),
}

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The server said no.
    #[error("the server refused the login: {message} ({sqlstate})")]
    Refused {
        /// Its SQLSTATE.
        sqlstate: SqlState,
        /// Its message.
        message: String,
        /// Its whole ErrorResponse.
        raw: Vec<u8>,
    },
    /// The server wants a proof that we cannot give.
    #[error("the server asks for {0}, for which the user list has no suitable secret")]
    NoSecret(&'static str),
    /// Kerberos and the like.
    #[error("the server asks for an authentication that is not supported (code {0})")]
    UnsupportedAuthentication(i32),
    /// The SCRAM exchange failed on our side.
    #[error("the SCRAM exchange with the server failed")]
    Scram(#[from] ScramError),
    /// A message that has no place in a login.
    #[error("unexpected message of type 0x{0:02x} during login")]
    Unexpected(u8),
    /// A message out of form.
    #[error("malformed message during login")]
    Malformed(#[from] ReadError),
    /// A header out of form.
    #[error("malformed message header during login")]
    Frame(#[from] FrameError),
}

impl Login {
    /// Appends StartupMessage to `out`. `nonce` is from [`scram::nonce`](crate::scram::nonce).
    pub fn start<'a>(
        minor: u16,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
        nonce: String,
        out: &mut Vec<u8>,
    ) -> Self {
        frontend::startup_message(out, minor, parameters);
        Self { state: State::Authentication { nonce, end_point: None }, session: LoggedIn::default() }
    }

    /// On a connection with TLS: SCRAM is bound to the server's certificate if the server can, as libpq's
    /// `channel_binding=prefer` does.
    pub fn bound_to(mut self, server: Option<EndPoint>) -> Self {
        if let State::Authentication { end_point, .. } = &mut self.state {
            *end_point = server;
        }
        self
    }

    /// Takes messages off `input`, appends answers to `out`. Nothing behind ReadyForQuery is taken.
    ///
    /// Slow (PBKDF2) the first time that a server asks `credential` for SCRAM.
    pub fn receive(
        mut self,
        input: &mut Vec<u8>,
        credential: &mut Credential,
        out: &mut Vec<u8>,
    ) -> LoginStep {
        let mut read = 0;
        let step = loop {
            let (header, body) = match split_message(input.get(read..).unwrap_or_default(), MAX_MESSAGE) {
                Ok(Some((header, body, _))) => (header, body),
                Ok(None) => break LoginStep::More(self),
                Err(error) => break LoginStep::Failed(error.into()),
            };
            read += header.total();
            match self.message(header, body, credential, out) {
                Ok(Next::Login(login)) => self = login,
                Ok(Next::Done(session)) => break LoginStep::Done(session),
                Err(error) => break LoginStep::Failed(error),
            }
        };
        input.drain(..read.min(input.len()));
        step
    }

    fn message(
        mut self,
        header: Header,
        body: &[u8],
        credential: &mut Credential,
        out: &mut Vec<u8>,
    ) -> Result<Next, LoginError> {
        match (header.tag, &self.state) {
            (backend::ERROR_RESPONSE, _) => return Err(refused(body)?),
            (backend::NOTICE_RESPONSE, _) => {}
            // the server has an older minor: it goes on with that, and so can we
            (backend::NEGOTIATE_PROTOCOL_VERSION, State::Authentication { .. }) => {}
            (backend::AUTHENTICATION, State::Ready) => return Err(LoginError::Unexpected(header.tag)),
            (backend::AUTHENTICATION, _) => {
                self.state = self.state.authentication(body, credential, out)?;
            }
            (backend::PARAMETER_STATUS, State::Ready) => self.session.parameters.push(parameter(body)?),
            (backend::BACKEND_KEY_DATA, State::Ready) => {
                self.session.backend_key = Some(CancelKey::parse(body)?);
            }
            (backend::READY_FOR_QUERY, State::Ready) => {
                let idle = backend::parse_ready_for_query(body) == Some(TransactionStatus::Idle);
                return if idle { Ok(Next::Done(self.session)) } else { Err(ReadError::UnknownValue.into()) };
            }
            (tag, _) => return Err(LoginError::Unexpected(tag)),
        }
        Ok(Next::Login(self))
    }
}

enum Next {
    Login(Login),
    Done(LoggedIn),
}

impl State {
    /// Answers one of the Authentication messages.
    fn authentication(
        self,
        body: &[u8],
        credential: &mut Credential,
        out: &mut Vec<u8>,
    ) -> Result<Self, LoginError> {
        let mut reader = Reader::new(body);
        match (reader.i32()?, self) {
            // in the middle of SCRAM the server still owes its proof: not accepted there
            (authentication::OK, Self::Authentication { .. } | Self::Ok) => Ok(Self::Ready),
            (authentication::CLEARTEXT_PASSWORD, Self::Authentication { .. }) => {
                frontend::password_message(out, credential.cleartext()?);
                Ok(Self::Ok)
            }
            (authentication::MD5_PASSWORD, Self::Authentication { .. }) => {
                let salt = reader.u32()?.to_be_bytes();
                frontend::password_message(out, credential.md5_response(salt)?.as_bytes());
                Ok(Self::Ok)
            }
            (authentication::SASL, Self::Authentication { nonce, end_point }) => {
                start_scram(reader, nonce, end_point, out)
            }
            (authentication::SASL_CONTINUE, Self::ServerFirst(state)) => {
                let challenge = state.receive(reader.rest())?;
                let keys = credential.scram_keys(&challenge.salt, challenge.iterations)?;
                let (reply, next) = challenge.respond(&keys);
                frontend::sasl_response(out, &reply);
                Ok(Self::ServerFinal(next))
            }
            (authentication::SASL_FINAL, Self::ServerFinal(state)) => {
                state.receive(reader.rest())?;
                Ok(Self::Ok)
            }
            (authentication::OK | authentication::SASL_CONTINUE | authentication::SASL_FINAL, _) => {
                Err(LoginError::Unexpected(backend::AUTHENTICATION))
            }
            (code, _) => Err(LoginError::UnsupportedAuthentication(code)),
        }
    }
}

fn start_scram(
    mechanisms: Reader<'_>,
    nonce: String,
    end_point: Option<EndPoint>,
    out: &mut Vec<u8>,
) -> Result<State, LoginError> {
    let offered = offered(mechanisms)?;
    let (mechanism, binding) = match (offered, end_point) {
        (Offered::Plus | Offered::Both, Some(end_point)) => (SCRAM_SHA_256_PLUS, Binding::To(end_point)),
        (Offered::Plain, Some(_)) => (SCRAM_SHA_256, Binding::NotOffered),
        (Offered::Plain | Offered::Both, None) => (SCRAM_SHA_256, Binding::Impossible),
        (Offered::Plus, None) | (Offered::Neither, _) => {
            return Err(LoginError::UnsupportedAuthentication(authentication::SASL));
        }
    };
    let (first, state) = ExpectServerFirst::start_bound(nonce, binding);
    frontend::sasl_initial_response(out, mechanism, &first);
    Ok(State::ServerFirst(state))
}

/// Which of our mechanisms a server offers.
enum Offered {
    Neither,
    Plain,
    Plus,
    Both,
}

fn offered(mut mechanisms: Reader<'_>) -> Result<Offered, ReadError> {
    let mut offered = Offered::Neither;
    loop {
        let name = mechanisms.string()?;
        offered = match (name, offered) {
            (b"", offered) => return Ok(offered),
            (name, Offered::Neither) if name == SCRAM_SHA_256.as_bytes() => Offered::Plain,
            (name, Offered::Plus) if name == SCRAM_SHA_256.as_bytes() => Offered::Both,
            (name, Offered::Neither) if name == SCRAM_SHA_256_PLUS.as_bytes() => Offered::Plus,
            (name, Offered::Plain) if name == SCRAM_SHA_256_PLUS.as_bytes() => Offered::Both,
            (_, offered) => offered,
        };
    }
}

fn parameter(body: &[u8]) -> Result<(String, String), LoginError> {
    let (name, value) = backend::parse_parameter_status(body).ok_or(ReadError::Truncated)?;
    Ok((String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned()))
}

fn refused(body: &[u8]) -> Result<LoginError, ReadError> {
    let fields = ErrorFields::parse(body)?;
    let mut raw = Vec::with_capacity(body.len() + crate::wire::frame::HEADER_LENGTH);
    fields.copy(&mut raw);
    Ok(LoginError::Refused {
        sqlstate: fields.sqlstate().unwrap_or(SqlState::INTERNAL_ERROR),
        message: fields.message().into_owned(),
        raw,
    })
}
