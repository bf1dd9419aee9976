//! Looks users up who are not in the list (`auth_query`), on a server connection like any other's.
//!
//! Nothing that a client sends but the user's name gets there: the connection is brought to settings of our own first
//! (CVE-2025-12819 is what happens otherwise). The look-up has a place in the queue of `auth_user`'s pool and a slot as
//! everybody has.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use pgpooler_config::UserSecret;
use pgpooler_core::lookup::{self, LookupError};
use pgpooler_core::session::{self, Naming, ServerFault, SessionState};
use pgpooler_core::wire::{ErrorFields, ErrorResponse, SqlState};
use thiserror::Error;
use tracing::warn;
use zeroize::Zeroizing;

use crate::auth::{self, Answer, Applicant, Ask, Challenge, Gate, Inquiry, Lookups, Unchallenged, User};
use crate::event_loop::buffers::poll_read;
use crate::event_loop::checkout::Refusal;
use crate::event_loop::client::ClientShared;
use crate::event_loop::server::ServerConn;
use crate::event_loop::worker::{Scratch, Worker};
use crate::process::Current;
use crate::reactor::{spawn_local, timeout};

/// How long a login waits for PostgreSQL before an older answer stands in.
const PATIENCE: Duration = Duration::from_millis(500);

/// The longest reply that is read.
const LONGEST_REPLY: usize = 64 * 1024;

/// How the reports call us.
const APPLICATION_NAME: &str = "pgpooler auth_query";

/// A loop, as those who log in see it.
pub(crate) struct Porter<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) current: &'a Current,
}

/// Why nobody was found and nobody was missed.
#[derive(Debug, Error)]
enum Fault {
    #[error("waited in vain for a server connection")]
    Wait,
    #[error("no server connection: {0}")]
    Refused(String),
    #[error("the server connection broke: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Server(#[from] ServerFault),
    #[error("auth_query gave a reply of more than {LONGEST_REPLY} bytes")]
    TooLong,
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error("the request could not be read")]
    Request,
    #[error(transparent)]
    Random(#[from] auth::RandomError),
}

impl Gate for Porter<'_> {
    /// Users of the list need no look-up. Everybody else has one, whether they exist or not.
    async fn challenge(&self, applicant: Applicant<'_>) -> Result<Challenge, Unchallenged> {
        let auth = &self.current.auth;
        let name = &applicant.parameters.user;
        let (None, Some(lookups)) = (auth.listed(name), auth.lookups()) else {
            return auth.challenge(applicant).await;
        };
        let key = lookups.key(&applicant.parameters.database, name);
        match self.worker.find(lookups, &key).await {
            Found::Now(user) => Ok(auth.ask(applicant, user)?),
            Found::Earlier(user) => Ok(auth.ask(applicant, Some(user))?.doubtful(lookups, key)),
            Found::Failed => Err(Unchallenged::Refused(unanswered(name))),
        }
    }
}

/// What is known of a user.
enum Found {
    Now(Option<Arc<User>>),
    Earlier(Arc<User>),
    Failed,
}

fn unanswered(user: &str) -> ErrorResponse {
    let told = format!("pgpooler could not look up user \"{user}\"");
    ErrorResponse::fatal(SqlState::SYSTEM_ERROR, told).hint("The pooler's log says why.")
}

impl Worker {
    /// Asks PostgreSQL, or waits for somebody else's answer.
    async fn find(self: &Rc<Self>, lookups: &Arc<Lookups>, key: &auth::Key) -> Found {
        let receiver = match lookups.ask(key) {
            Ask::Never => return Found::Failed,
            Ask::Wait(receiver) => {
                self.logins.borrow_mut().lookups.shared += 1;
                receiver
            }
            Ask::Begin(inquiry, receiver) => {
                // a task of its own: whoever shares the answer must not depend on this client
                spawn_local(look_up(Rc::clone(self), inquiry));
                receiver
            }
        };
        let answer = auth::answer(receiver);
        let answer = match lookups.stand_in(key, Instant::now()) {
            None => answer.await,
            Some(user) => match timeout(PATIENCE, answer).await {
                Ok(answer @ (Answer::Found(_) | Answer::Unknown)) => answer,
                Ok(Answer::Failed) | Err(_) => {
                    self.logins.borrow_mut().lookups.stood_in += 1;
                    return Found::Earlier(user);
                }
            },
        };
        match answer {
            Answer::Found(user) => Found::Now(Some(user)),
            Answer::Unknown => Found::Now(None),
            Answer::Failed => Found::Failed,
        }
    }
}

async fn look_up(worker: Rc<Worker>, inquiry: Inquiry) {
    let _turn = inquiry.turn().await;
    let secret = match ask(&worker, &inquiry).await {
        // the connection may have died of old age in the pool
        Err(Fault::Io(_)) => ask(&worker, &inquiry).await,
        outcome => outcome,
    };
    let (database, user) = inquiry.key().clone();
    let secret = secret.map(|secret| secret.map(|secret| UserSecret::of(secret.to_string())));
    let found = matches!(secret, Ok(Some(_)));
    let outcome = secret.and_then(|secret| Ok(inquiry.answered(secret.as_ref(), Instant::now())?));
    let counts = &mut worker.logins.borrow_mut().lookups;
    match outcome {
        Ok(()) if found => counts.found += 1,
        Ok(()) => counts.unknown += 1,
        Err(fault) => {
            counts.failed += 1;
            warn!(%database, %user, error = %fault, "user could not be looked up");
        }
    }
}

/// Takes a place in the queue, runs the query, gives the connection back.
async fn ask(worker: &Rc<Worker>, inquiry: &Inquiry) -> Result<Option<Zeroizing<String>>, Fault> {
    let (database, user) = inquiry.key();
    let pool = worker.pool(database, &inquiry.rule().user);
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let (slot, id) = (worker.reserve_seat(), worker.process.next_id());
    let shared = Rc::new(ClientShared::new(id, slot, pool, nowhere).without_seat(APPLICATION_NAME, nowhere));
    worker.seat_own(&shared);
    let seat = Seat { worker, shared };
    let mut server = match worker.checkout(&seat.shared, None, Instant::now()).await {
        Ok(server) => server,
        Err(Refusal::Kicked(_)) => return Err(Fault::Wait),
        Err(Refusal::Server(response)) => return Err(Fault::Refused(told(&response))),
        Err(Refusal::Away(error)) => return Err(Fault::Refused(error.message.into_owned())),
    };
    let mut query = Query::new(&inquiry.rule().query, user);
    let outcome = poll_fn(|cx| query.poll(worker, &mut server, cx)).await;
    seat.shared.set_server(None);
    server.session.part(&query.session);
    match &outcome {
        Ok(()) => {}
        Err(Fault::Io(_) | Fault::Server(ServerFault::Terminated { .. })) => server.lose(),
        Err(_) => server.doom(),
    }
    worker.recycle(server, Instant::now());
    outcome?;
    Ok(lookup::secret(&query.reply, user)?)
}

fn told(response: &[u8]) -> String {
    match ErrorFields::parse(response.get(5..).unwrap_or_default()) {
        Ok(fields) => fields.message().into_owned(),
        Err(error) => error.to_string(),
    }
}

/// A place among the loop's clients, left when dropped.
struct Seat<'a> {
    worker: &'a Rc<Worker>,
    shared: Rc<ClientShared>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.worker.free_seat(self.shared.slot);
    }
}

/// A query whose client is ourselves.
struct Query {
    session: session::Client,
    request: Vec<u8>,
    reply: Zeroizing<Vec<u8>>,
}

impl Query {
    fn new(query: &str, user: &str) -> Self {
        Self {
            session: session::Client::new(
                Naming::Shared,
                lookup::settings(APPLICATION_NAME),
                SessionState::Reset,
            ),
            request: lookup::request(query, user),
            reply: Zeroizing::default(),
        }
    }

    fn poll(
        &mut self,
        worker: &Worker,
        server: &mut ServerConn,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        let Scratch { read, desk } = &mut *worker.scratch.borrow_mut();
        let request = std::mem::take(&mut self.request);
        if !request.is_empty() {
            let mut exchange = desk.exchange(&mut self.session, &mut server.session);
            exchange.begin();
            let dealt_with = exchange.client_bytes(&request).map_err(|_| Fault::Request)?;
            server.spill.send(&mut server.stream, cx, &mut desk.to_server, &request)?;
            if dealt_with != request.len() {
                return Poll::Ready(Err(Fault::Request));
            }
        }
        // a socket that has just come to this loop takes its first bytes a little later
        if let Poll::Ready(Err(error)) = server.spill.poll_flush(&mut server.stream, cx) {
            return Poll::Ready(Err(error.into()));
        }
        while server.session.is_busy() {
            let fresh = match ready!(poll_read(&mut server.stream, cx, read))? {
                0 => return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())),
                fresh => read.get(..fresh).unwrap_or_default(),
            };
            let input = server.carry.join(fresh);
            let outcome = desk.exchange(&mut self.session, &mut server.session).server_bytes(input);
            desk.to_client.copy_remaining(input, 0, &mut self.reply);
            desk.to_client.clear();
            server.carry.keep(fresh, outcome?);
            // what the session asks on its own
            server.spill.send(&mut server.stream, cx, &mut desk.to_server, &[])?;
            if self.reply.len() > LONGEST_REPLY {
                return Poll::Ready(Err(Fault::TooLong));
            }
        }
        Poll::Ready(Ok(()))
    }
}
