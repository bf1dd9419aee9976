//! The port that clients come to.
//!
//! The first loop has it: a thread of its own would cost every connection two more wake-ups. It is open to the last, also
//! while the process leaves: who comes then is told so, and cancel requests still work.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use pgpooler_core::admission::Origin;
use pgpooler_core::wire::{ErrorResponse, SqlState};
use tracing::warn;

use crate::event_loop::worker::Worker;
use crate::process::{Mail, Subject};
use crate::reactor::{Listener, sleep, spawn_local, yield_now};
use crate::report::Refused;

/// How long nothing is accepted after a failure: out of file descriptors, most likely, and those who wait are taken when
/// somebody leaves.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections taken before others get their turn.
const AT_ONCE: u64 = 32;

/// Takes connections, and gives each to the loop that has the fewest; ends with its loop.
pub(crate) fn open(worker: &Rc<Worker>, listener: TcpListener) -> io::Result<()> {
    let listener = Listener::from_std(listener)?;
    spawn_local(take_connections(Rc::clone(worker), listener));
    Ok(())
}

async fn take_connections(worker: Rc<Worker>, listener: Listener) {
    for n in 1_u64.. {
        if n % AT_ONCE == 0 {
            yield_now().await;
        }
        match listener.accept().await {
            Ok((stream, peer)) => take_in(&worker, stream, peer),
            Err(error) => {
                // those who do not log in may be why
                worker.process.evict_some(AT_ONCE as usize);
                if let Some(aside) = worker.process.note(Subject::Unaccepted, Origin::default()) {
                    warn!(%error, aside = aside.text(), "connection could not be accepted");
                }
                sleep(PAUSE).await;
            }
        }
    }
}

fn take_in(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    let Some(pass) = worker.process.admit(peer) else { return turn_away(worker, stream) };
    let Some(chosen) = worker.process.choose_loop() else { return };
    if chosen == worker.me {
        worker.welcome(stream, pass);
    } else if worker.process.send(chosen, Mail::Client(stream, Box::new(pass))).is_err() {
        worker.process.connection_ended(chosen);
    }
}

/// Before anything is read from it: that it costs so little is the purpose.
fn turn_away(worker: &Worker, mut stream: TcpStream) {
    worker.logins.borrow_mut().record_refusal(Refused::Failures);
    let told = "too many failed logins from this address (max_failed_logins_per_address)";
    let error = ErrorResponse::fatal(SqlState::TOO_MANY_CONNECTIONS, told);
    worker.count_error(error.sqlstate.as_str());
    // best effort
    let _ = stream.write(&error.to_bytes());
}
