//! What a client hears when it cannot have what it asked for.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use pgpooler_core::login::LoginError;
use pgpooler_core::session::{Reject, Rejected};
use pgpooler_core::wire::{ErrorResponse, SqlState};
use tokio::io::AsyncWriteExt;

use crate::connect::ConnectErrorKind;
use crate::event_loop::buffers::poll_read;
use crate::event_loop::client::ClientConn;
use crate::event_loop::worker::Worker;
use crate::reactor::timeout;
use crate::socket;
use crate::transport::Transport;

/// How long a client may take to take its last message.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What became of a client whose request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Stays,
    Left,
}

/// Sends the client its last message, and lets it close first: a close with bytes unread becomes a reset, which
/// can overtake the message.
pub(crate) async fn last_words(client: &mut ClientConn, response: &[u8]) {
    client.spill.bytes().extend_from_slice(response);
    let goodbye = async {
        poll_fn(|cx| client.spill.poll_flush(&mut client.stream, cx)).await?;
        client.stream.shutdown().await?;
        let mut ignored = Vec::new();
        while socket::read_more(&mut client.stream, &mut ignored).await? > 0 {
            ignored.clear();
        }
        io::Result::Ok(())
    };
    // the client may be gone or stuck: all the same to us now
    let _ = timeout(LAST_WORDS, goodbye).await;
}

/// As [`last_words`], for a connection that never became a client.
pub(crate) async fn turn_away(mut stream: Transport, mut out: Vec<u8>, response: &[u8]) {
    out.extend_from_slice(response);
    let goodbye = async {
        stream.write_all(&out).await?;
        stream.shutdown().await?;
        let mut ignored = Vec::new();
        while socket::read_more(&mut stream, &mut ignored).await? > 0 {
            ignored.clear();
        }
        io::Result::Ok(())
    };
    let _ = timeout(LAST_WORDS, goodbye).await;
}

/// Answers the client's next request with `error`. The client stays connected.
pub(crate) async fn reject(
    worker: &Rc<Worker>,
    client: &mut ClientConn,
    error: ErrorResponse,
) -> io::Result<Outcome> {
    let mut reject = Reject::new(error);
    let outcome = poll_fn(|cx| {
        let read = &mut worker.scratch.borrow_mut().read;
        loop {
            let fresh = if client.carry.is_unseen() {
                0
            } else {
                match std::task::ready!(poll_read(&mut client.stream, cx, read))? {
                    0 => return std::task::Poll::Ready(io::Result::Ok(Outcome::Left)),
                    fresh => fresh,
                }
            };
            let fresh = read.get(..fresh).unwrap_or_default();
            let input = client.carry.join(fresh);
            let rejected = reject.client_bytes(input, client.spill.bytes()).map_err(io::Error::other)?;
            let dealt_with = match rejected {
                Rejected::More(bytes) | Rejected::Done(bytes) => bytes,
                Rejected::Left => return std::task::Poll::Ready(Ok(Outcome::Left)),
            };
            client.carry.keep(fresh, dealt_with);
            if let Rejected::Done(_) = rejected {
                client.carry.reread();
                return std::task::Poll::Ready(Ok(Outcome::Stays));
            }
        }
    })
    .await?;
    poll_fn(|cx| client.spill.poll_flush(&mut client.stream, cx)).await?;
    Ok(outcome)
}

/// For clients whose pool's login failed: PostgreSQL's own words, or that it failed on our side.
pub(crate) fn no_login(kind: &ConnectErrorKind) -> Vec<u8> {
    if let Some(response) = kind.error_response() {
        return response.to_vec();
    }
    let error = ErrorResponse::fatal(
        SqlState::SQLSERVER_REJECTED_ESTABLISHMENT_OF_SQLCONNECTION,
        "pgpooler could not log in to PostgreSQL",
    );
    let told = match kind {
        ConnectErrorKind::Login(LoginError::NoSecret(method)) => error
            .detail(format!(
                "PostgreSQL asks for {method}, and nothing is known of the user's password that fits it: the secret \
                 that clients are checked with is another than PostgreSQL's."
            ))
            .hint("After a change of the password, log in with the new one; auth_file must have it too."),
        _ => error.hint("The pooler's log says why."),
    };
    told.to_bytes()
}
