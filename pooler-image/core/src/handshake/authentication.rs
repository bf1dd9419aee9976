//! A client proves who it is.

use std::sync::Arc;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::md5;
use crate::scram::{
    ClientKeys, EndPoint, ExpectClientFinal, ExpectClientFirst, Offer, SCRAM_SHA_256, SCRAM_SHA_256_PLUS,
    ScramError, ScramVerifier,
};
use crate::wire::{ErrorResponse, FrameError, Reader, SqlState, backend, frontend, split_message};

/// The longest SASL message, as in PostgreSQL (`PG_MAX_SASL_MESSAGE_LENGTH`).
const MAX_SASL: u32 = 1024;

/// The longest password message, as in PostgreSQL (`PG_MAX_AUTH_TOKEN_LENGTH`).
const MAX_PASSWORD: u32 = 65_535;

/// How a client proves its password, with the random part of the exchange.
///
/// For a user who does not exist it holds a verifier that nothing fits
/// ([`ScramVerifier::mock`]): the exchange looks the same to the end.
#[derive(Debug, Clone)]
pub enum Method {
    /// SCRAM-SHA-256.
    Scram {
        /// What the proof is checked against.
        verifier: Arc<ScramVerifier>,
        /// The server's part of the nonce.
        nonce: String,
    },
    /// AuthenticationMD5Password.
    Md5 {
        /// The hash as PostgreSQL stores it.
        stored: Zeroizing<String>,
        /// The salt of this exchange.
        salt: [u8; 4],
    },
    /// AuthenticationCleartextPassword: whoever asked for it compares.
    Plain,
    /// Nothing is asked: TLS has shown a certificate, or none.
    Certificate {
        /// Its common name, if the certificate was good.
        common_name: Option<String>,
    },
}

/// Awaits the client's next proof.
#[derive(Debug)]
#[must_use = "a client is authenticated only when this says so"]
pub struct Authentication {
    user: String,
    state: State,
}

#[derive(Debug)]
enum State {
    /// With what can be bound to.
    ClientFirst(ExpectClientFirst, Option<EndPoint>),
    /// The mechanism is chosen, client-first did not come with it.
    LateClientFirst(ExpectClientFirst),
    ClientFinal(ExpectClientFinal),
    Password(Zeroizing<String>),
    Plain,
    Certificate(Option<String>),
}

/// What a client's bytes led to.
#[derive(Debug)]
#[must_use = "a client is authenticated only when this says so"]
pub enum AuthenticationStep {
    /// More bytes are needed.
    More(Authentication),
    /// Proven. `out` ends with AuthenticationOk. The keys are those which SCRAM reveals.
    Authenticated(Option<ClientKeys>),
    /// The client has sent its password as it is: compare it, then [`CheckPassword::decide`].
    Password(CheckPassword, Zeroizing<String>),
    /// Told to the client in `out`.
    Refused(ErrorResponse),
}

/// Awaits what a password in clear text is worth.
#[derive(Debug)]
#[must_use = "a client is authenticated only when this says so"]
pub struct CheckPassword {
    user: String,
}

/// What a password in clear text is worth.
#[derive(Debug)]
pub enum PasswordCheck {
    /// It is the user's, and opens servers with these keys.
    Right(Option<ClientKeys>),
    /// It is not, or there is no such user.
    Wrong,
}

impl CheckPassword {
    /// Goes on with the answer.
    pub fn decide(self, check: PasswordCheck, out: &mut Vec<u8>) -> AuthenticationStep {
        match check {
            PasswordCheck::Right(keys) => accept(keys, out),
            PasswordCheck::Wrong => refuse(wrong_password(&self.user), out),
        }
    }
}

impl Authentication {
    /// Asks `user` for a proof: appends the request to `out`.
    pub fn start(user: &str, method: Method, out: &mut Vec<u8>) -> Self {
        Self::start_bound(user, method, None, out)
    }

    /// The same on a connection with TLS: SCRAM can be bound to our certificate.
    pub fn start_bound(user: &str, method: Method, end_point: Option<EndPoint>, out: &mut Vec<u8>) -> Self {
        let state = match method {
            Method::Scram { verifier, nonce } => {
                match end_point {
                    Some(_) => backend::authentication_sasl(out, &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256]),
                    None => backend::authentication_sasl(out, &[SCRAM_SHA_256]),
                }
                State::ClientFirst(ExpectClientFirst::new(verifier, nonce), end_point)
            }
            Method::Md5 { stored, salt } => {
                backend::authentication_md5_password(out, salt);
                State::Password(Zeroizing::new(md5::response(&stored, salt)))
            }
            Method::Plain => {
                backend::authentication_cleartext_password(out);
                State::Plain
            }
            Method::Certificate { common_name } => State::Certificate(common_name),
        };
        Self { user: user.to_owned(), state }
    }

    /// Takes messages off `input`, appends answers to `out`.
    pub fn receive(mut self, input: &mut Vec<u8>, out: &mut Vec<u8>) -> AuthenticationStep {
        loop {
            if let State::Certificate(common_name) = &self.state {
                return match check_certificate(common_name.as_deref(), &self.user) {
                    Ok(()) => accept(None, out),
                    Err(error) => refuse(error, out),
                };
            }
            let body = match self.state.split(input) {
                Ok(Some(body)) => body,
                Ok(None) => return AuthenticationStep::More(self),
                Err(error) => return refuse(error, out),
            };
            match self.state.receive(&body, &self.user, out) {
                Ok(Next::State(state)) => self.state = state,
                Ok(Next::Proven(keys)) => return accept(keys, out),
                Ok(Next::Check(password)) => {
                    return AuthenticationStep::Password(CheckPassword { user: self.user }, password);
                }
                Err(error) => return refuse(error, out),
            }
        }
    }
}

enum Next {
    State(State),
    Proven(Option<ClientKeys>),
    Check(Zeroizing<String>),
}

impl State {
    /// The body of the next message, once it is whole. A wrong type is refused at its first byte.
    fn split(&self, input: &mut Vec<u8>) -> Result<Option<Zeroizing<Vec<u8>>>, ErrorResponse> {
        let (kind, limit) = match self {
            Self::Password(_) | Self::Plain => ("password", MAX_PASSWORD),
            _ => ("SASL", MAX_SASL),
        };
        match input.first() {
            Some(&frontend::PASSWORD_MESSAGE) | None => {}
            Some(tag) => {
                let told = format!("expected {kind} response, got message type {tag}");
                return Err(ErrorResponse::fatal(SqlState::PROTOCOL_VIOLATION, told));
            }
        }
        let message = split_message(input, limit).map_err(length_error)?;
        let Some((header, body, _)) = message else { return Ok(None) };
        let body = Zeroizing::new(body.to_vec());
        input.drain(..header.total());
        Ok(Some(body))
    }

    fn receive(self, body: &[u8], user: &str, out: &mut Vec<u8>) -> Result<Next, ErrorResponse> {
        match self {
            Self::ClientFirst(state, end_point) => {
                let (offer, message) = initial_response(body, end_point)?;
                let state = state.offered(offer);
                if let Some(message) = message {
                    return client_first(state, message, user, out);
                }
                backend::authentication_sasl_continue(out, &[]);
                Ok(Next::State(Self::LateClientFirst(state)))
            }
            Self::LateClientFirst(state) => client_first(state, body, user, out),
            Self::ClientFinal(state) => {
                let proven = state.receive(body).map_err(|error| scram_error(error, user))?;
                backend::authentication_sasl_final(out, &proven.reply);
                Ok(Next::Proven(Some(proven.keys)))
            }
            Self::Password(expected) => check_password(body, &expected, user),
            Self::Plain => read_password(body, user).map(Next::Check),
            // nothing is read from a client that has shown a certificate
            Self::Certificate(_) => Err(wrong_certificate(user)),
        }
    }
}

/// The mechanism and the SCRAM message inside SASLInitialResponse.
fn initial_response(
    body: &[u8],
    end_point: Option<EndPoint>,
) -> Result<(Offer, Option<&[u8]>), ErrorResponse> {
    let malformed = |_| ErrorResponse::fatal(SqlState::PROTOCOL_VIOLATION, "invalid SASL response message");
    let mut reader = Reader::new(body);
    let mechanism = reader.string().map_err(malformed)?;
    let offer = match end_point {
        Some(end_point) if mechanism == SCRAM_SHA_256_PLUS.as_bytes() => Offer::Chosen(end_point),
        Some(_) if mechanism == SCRAM_SHA_256.as_bytes() => Offer::Declined,
        None if mechanism == SCRAM_SHA_256.as_bytes() => Offer::Nothing,
        _ => {
            let told = "client selected an invalid SASL authentication mechanism";
            return Err(ErrorResponse::fatal(SqlState::PROTOCOL_VIOLATION, told));
        }
    };
    let length = reader.i32().map_err(malformed)?;
    let message = usize::try_from(length).ok().map(|length| reader.bytes(length)).transpose();
    let message = message.map_err(malformed)?;
    reader.finish().map_err(malformed)?;
    Ok((offer, message))
}

fn client_first(
    state: ExpectClientFirst,
    message: &[u8],
    user: &str,
    out: &mut Vec<u8>,
) -> Result<Next, ErrorResponse> {
    let first = state.receive(message).map_err(|error| scram_error(error, user))?;
    backend::authentication_sasl_continue(out, &first.reply);
    Ok(Next::State(State::ClientFinal(first.next)))
}

fn check_password(body: &[u8], expected: &str, user: &str) -> Result<Next, ErrorResponse> {
    let password = password_bytes(body)?;
    if bool::from(password.ct_eq(expected.as_bytes())) {
        Ok(Next::Proven(None))
    } else {
        Err(wrong_password(user))
    }
}

/// A password that is not UTF-8 is no user's: secrets are.
fn read_password(body: &[u8], user: &str) -> Result<Zeroizing<String>, ErrorResponse> {
    let password = std::str::from_utf8(password_bytes(body)?).map_err(|_| wrong_password(user))?;
    Ok(Zeroizing::new(password.to_owned()))
}

fn password_bytes(body: &[u8]) -> Result<&[u8], ErrorResponse> {
    let told = "invalid password packet size";
    let malformed = |_| ErrorResponse::fatal(SqlState::PROTOCOL_VIOLATION, told);
    let mut reader = Reader::new(body);
    let password = reader.string().map_err(malformed)?;
    reader.finish().map_err(malformed)?;
    if password.is_empty() {
        let told = "empty password returned by client";
        return Err(ErrorResponse::fatal(SqlState::INVALID_PASSWORD, told));
    }
    Ok(password)
}

fn check_certificate(common_name: Option<&str>, user: &str) -> Result<(), ErrorResponse> {
    match common_name {
        Some(name) if name == user => Ok(()),
        Some(_) => Err(wrong_certificate(user)),
        None => Err(ErrorResponse::fatal(
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            "connection requires a valid client certificate",
        )),
    }
}

fn wrong_certificate(user: &str) -> ErrorResponse {
    let told = format!("certificate authentication failed for user \"{user}\"");
    ErrorResponse::fatal(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, told)
}

/// One message for a wrong password and for a user who does not exist.
fn wrong_password(user: &str) -> ErrorResponse {
    let told = format!("password authentication failed for user \"{user}\"");
    ErrorResponse::fatal(SqlState::INVALID_PASSWORD, told)
}

/// Words and codes of PostgreSQL's `auth-scram.c`.
fn scram_error(error: ScramError, user: &str) -> ErrorResponse {
    let violation = |told| ErrorResponse::fatal(SqlState::PROTOCOL_VIOLATION, told);
    let unsupported = |told| ErrorResponse::fatal(SqlState::FEATURE_NOT_SUPPORTED, told);
    match error {
        ScramError::Proof => wrong_password(user),
        ScramError::AuthorizationIdentity => {
            unsupported("client uses authorization identity, but it is not supported")
        }
        ScramError::Extension => unsupported("client requires an unsupported SCRAM extension"),
        ScramError::Nonce => violation("invalid SCRAM response").detail("Nonce does not match."),
        ScramError::BindingData => {
            violation("unexpected SCRAM channel-binding attribute in client-final-message")
        }
        ScramError::EndPoint => ErrorResponse::fatal(
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            "SCRAM channel binding check failed",
        ),
        ScramError::Downgrade => ErrorResponse::fatal(
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            "SCRAM channel binding negotiation error",
        )
        .detail(
            "The client supports SCRAM channel binding but thinks the server does not.  \
             However, this server does support channel binding.",
        ),
        ScramError::BindingType(name) => ErrorResponse::fatal(
            SqlState::PROTOCOL_VIOLATION,
            format!("unsupported SCRAM channel-binding type \"{}\"", sanitized(&name)),
        ),
        ScramError::NoChannelBinding => violation("malformed SCRAM message").detail(
            "The client selected SCRAM-SHA-256-PLUS, \
             but the SCRAM message does not include channel binding data.",
        ),
        ScramError::ChannelBinding => violation("malformed SCRAM message").detail(
            "The client selected SCRAM-SHA-256 without channel binding, \
             but the SCRAM message includes channel binding data.",
        ),
        _ => violation("malformed SCRAM message"),
    }
}

/// At most 30 characters, and a question mark for each that does not print (`sanitize_str`).
fn sanitized(text: &str) -> String {
    text.bytes().take(30).map(|byte| if byte.is_ascii_graphic() { char::from(byte) } else { '?' }).collect()
}

fn length_error(_: FrameError) -> ErrorResponse {
    ErrorResponse::fatal(SqlState::PROTOCOL_VIOLATION, "invalid message length")
}

fn accept(keys: Option<ClientKeys>, out: &mut Vec<u8>) -> AuthenticationStep {
    backend::authentication_ok(out);
    AuthenticationStep::Authenticated(keys)
}

fn refuse(error: ErrorResponse, out: &mut Vec<u8>) -> AuthenticationStep {
    error.encode(out);
    AuthenticationStep::Refused(error)
}
