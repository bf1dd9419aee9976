//! One session on the console, from the end of its login.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgpooler_core::wire::{
    CancelKey, ErrorResponse, SqlState, TransactionStatus, backend, frontend, split_message,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::budget::Listener;
use super::command::{self, Channel, Command};
use super::configure::Follower;
use super::sessions::Listed;
use super::{Access, AdminError, Console, Reply, show_version};
use crate::control::ShutdownMode;
use crate::report::SocketReport;

/// The longest message that is read; no command but `CONFIGURE` needs more.
const MESSAGE_LIMIT: u32 = 64 * 1024;

/// The longest of an administrator: a `ConfigMap` and a Secret of a mebibyte each, in base64.
const ADMIN_MESSAGE_LIMIT: u32 = 4 * 1024 * 1024;

/// How long a client may take to take the last message at the end of the process.
const GOODBYE: Duration = Duration::from_secs(1);

/// How often it is looked whether a listener is to be told something.
const TICK: Duration = Duration::from_millis(100);

/// Who is on the console.
#[derive(Debug, Clone)]
pub struct AdminClient {
    /// The user.
    pub user: String,
    /// What the user may do.
    pub access: Access,
    /// For BackendKeyData, which is sent if there is one.
    pub key: Option<CancelKey>,
    /// Unique in the process, among clients too.
    pub id: u64,
    /// Its socket.
    pub socket: SocketReport,
}

/// Serves a client whose login has been answered with `AuthenticationOk`.
///
/// `leftover` is what was read behind the login. The session ends when the client leaves, or with 57P01 when
/// `shutdown` is ready: let that be the end of the process, not the beginning of its drain, which is watched from
/// here. May be dropped at any time.
///
/// # Errors
/// The connection broke.
pub async fn serve<S>(
    stream: S,
    client: AdminClient,
    leftover: Vec<u8>,
    console: Arc<Console>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let console = &*console;
    let listed = console.sessions.enter(&client);
    let mut session = Session {
        stream,
        client,
        console,
        listed: &listed,
        input: leftover,
        output: Vec::new(),
        sync: Sync::InStep,
        listener: None,
        follower: None,
    };
    tokio::select! {
        ended = session.run() => ended,
        () = shutdown => {
            let message = "terminating connection: the pooler is shutting down";
            session.goodbye(&ErrorResponse::fatal(SqlState::ADMIN_SHUTDOWN, message)).await
        }
        () = listed.killed() => {
            // PgBouncer's words
            session.goodbye(&ErrorResponse::fatal(SqlState::PROTOCOL_VIOLATION, "admin forced disconnect")).await
        }
    }
}

struct Session<'a, S> {
    stream: S,
    client: AdminClient,
    console: &'a Console,
    listed: &'a Listed<'a>,
    input: Vec<u8>,
    /// Not empty while it is being written.
    output: Vec<u8>,
    sync: Sync,
    listener: Option<Listener>,
    follower: Option<Follower>,
}

/// After an error in the extended protocol everything up to Sync is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sync {
    InStep,
    Skipping,
}

enum Next {
    Message {
        tag: u8,
        body: Vec<u8>,
    },
    EndOfFile,
    Faulty,
    /// A listener may have to be told something.
    Tick,
}

enum Handled {
    GoOn,
    Left,
    OutOfTurn,
}

enum RanAll {
    /// `leave`: what the process is to do once the answers have left.
    Answered {
        leave: Option<ShutdownMode>,
    },
    ClientGone,
}

enum Ran {
    Done(Result<Reply, AdminError>),
    ClientGone,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<'_, S> {
    async fn run(&mut self) -> io::Result<()> {
        self.welcome();
        self.flush().await?;
        loop {
            match self.next().await? {
                Next::Tick => self.tell().await?,
                Next::EndOfFile => return Ok(()),
                Next::Faulty => {
                    return self.fatal("message to the admin console is too long or malformed").await;
                }
                Next::Message { tag, body } => match self.handle(tag, &body).await? {
                    Handled::GoOn => self.flush().await?,
                    Handled::Left => return Ok(()),
                    Handled::OutOfTurn => return self.fatal("unexpected message to the admin console").await,
                },
            }
        }
    }

    async fn handle(&mut self, tag: u8, body: &[u8]) -> io::Result<Handled> {
        match tag {
            frontend::TERMINATE => return Ok(Handled::Left),
            frontend::SYNC => {
                self.sync = Sync::InStep;
                self.ready();
            }
            _ if self.sync == Sync::Skipping => {}
            frontend::QUERY => return self.query(body).await,
            frontend::FUNCTION_CALL => {
                self.refuse(&AdminError::ExtendedProtocol);
                self.ready();
            }
            _ if is_extended(tag) => {
                self.refuse(&AdminError::ExtendedProtocol);
                self.sync = Sync::Skipping;
            }
            // outside COPY PostgreSQL ignores its messages too
            frontend::FLUSH | frontend::COPY_DATA | frontend::COPY_DONE | frontend::COPY_FAIL => {}
            _ => return Ok(Handled::OutOfTurn),
        }
        Ok(Handled::GoOn)
    }

    fn welcome(&mut self) {
        for (name, value) in [
            ("server_version", show_version::SERVER_VERSION),
            ("client_encoding", "UTF8"),
            ("server_encoding", "UTF8"),
            ("DateStyle", "ISO"),
            ("TimeZone", "GMT"),
            ("standard_conforming_strings", "on"),
            ("integer_datetimes", "on"),
            ("is_superuser", if self.client.access == Access::Admin { "on" } else { "off" }),
        ] {
            backend::parameter_status(&mut self.output, name, value);
        }
        if let Some(key) = &self.client.key {
            backend::backend_key_data(&mut self.output, key);
        }
        self.ready();
    }

    async fn query(&mut self, body: &[u8]) -> io::Result<Handled> {
        let text = String::from_utf8_lossy(body.strip_suffix(b"\0").unwrap_or(body)).into_owned();
        let leave = match command::parse(&text) {
            Ok(commands) => match self.run_all(commands).await? {
                RanAll::Answered { leave } => leave,
                RanAll::ClientGone => return Ok(Handled::Left),
            },
            Err(error) => {
                self.refuse(&error);
                None
            }
        };
        self.ready();
        self.flush().await?;
        if let Some(mode) = leave {
            self.console.control().shutdown(mode);
        }
        Ok(Handled::GoOn)
    }

    async fn run_all(&mut self, commands: Vec<Command>) -> io::Result<RanAll> {
        if commands.is_empty() {
            backend::empty_query_response(&mut self.output);
        }
        self.listed.asks(commands.len());
        let mut leave = None;
        for command in commands {
            match self.permitted(command).await? {
                Ran::ClientGone => return Ok(RanAll::ClientGone),
                Ran::Done(Ok(reply)) => {
                    reply.encode(&mut self.output);
                    if let (Some(listener), Some(report)) = (&mut self.listener, reply.told()) {
                        listener.saw(*report, Instant::now());
                    }
                    leave = leave.max(reply.shutdown());
                }
                Ran::Done(Err(error)) => {
                    self.refuse(&error);
                    break;
                }
            }
        }
        Ok(RanAll::Answered { leave })
    }

    async fn permitted(&mut self, command: Command) -> io::Result<Ran> {
        if let Some(name) = command.admin_only() {
            if self.client.access != Access::Admin {
                return Ok(Ran::Done(Err(AdminError::NeedsAdmin(name))));
            }
            if matches!(command, Command::Order(_)) {
                // the operator's come by the dozen
                tracing::debug!(user = %self.client.user, ?command, "console command");
            } else {
                tracing::info!(user = %self.client.user, ?command, "console command");
            }
        }
        match command {
            Command::Listen(channel) => self.listen(channel),
            Command::Unlisten(channel) => self.unlisten(channel),
            // its answer tells more than the last notification: what was told before may come back unseen
            Command::Configure { .. } => self.follower.iter_mut().for_each(Follower::forget),
            _ => {}
        }
        self.execute(command).await
    }

    fn listen(&mut self, channel: Channel) {
        match channel {
            Channel::Budget => self.listener = Some(self.listener.take().unwrap_or_default()),
            Channel::Configuration => self.follower = Some(self.follower.take().unwrap_or_default()),
        }
    }

    fn unlisten(&mut self, channel: Option<Channel>) {
        if channel != Some(Channel::Configuration) {
            self.listener = None;
        }
        if channel != Some(Channel::Budget) {
            self.follower = None;
        }
    }

    /// A `PAUSE` may take for ever, so the client is watched meanwhile; what it sends early is kept.
    async fn execute(&mut self, command: Command) -> io::Result<Ran> {
        let limit = self.limit() as usize;
        let Self { stream, console, input, .. } = self;
        let mut running = pin!(console.execute(command));
        loop {
            tokio::select! {
                biased;
                result = &mut running => return Ok(Ran::Done(result)),
                read = stream.read_buf(input), if input.len() <= limit => {
                    if read? == 0 {
                        return Ok(Ran::ClientGone);
                    }
                }
            }
        }
    }

    /// The next message; meanwhile, and only while the session listens, a tick.
    async fn next(&mut self) -> io::Result<Next> {
        if self.listener.is_none() && self.follower.is_none() {
            return self.next_message().await;
        }
        tokio::time::timeout(TICK, self.next_message()).await.unwrap_or(Ok(Next::Tick))
    }

    async fn tell(&mut self) -> io::Result<()> {
        let process_id = self.client.key.as_ref().map_or(0, CancelKey::process_id);
        if let Some(listener) = &mut self.listener {
            let report = self.console.control().budget().await;
            listener.tell(report, Instant::now(), process_id, &mut self.output);
        }
        if let Some(follower) = &mut self.follower {
            follower.tell(&self.console.control().settings(), process_id, &mut self.output);
        }
        self.flush().await
    }

    fn limit(&self) -> u32 {
        match self.client.access {
            Access::Admin => ADMIN_MESSAGE_LIMIT,
            Access::Stats => MESSAGE_LIMIT,
        }
    }

    async fn next_message(&mut self) -> io::Result<Next> {
        loop {
            match split_message(&self.input, self.limit()) {
                Err(_) => return Ok(Next::Faulty),
                Ok(Some((header, body, _))) => {
                    let message = Next::Message { tag: header.tag, body: body.to_vec() };
                    self.input.drain(..header.total());
                    if self.input.is_empty() {
                        // what was a bundle needs no room any more
                        self.input = Vec::new();
                    }
                    return Ok(message);
                }
                Ok(None) => {
                    if self.stream.read_buf(&mut self.input).await? == 0 {
                        return Ok(Next::EndOfFile);
                    }
                }
            }
        }
    }

    fn refuse(&mut self, error: &AdminError) {
        tracing::debug!(user = %self.client.user, %error, "console command refused");
        error.response().encode(&mut self.output);
    }

    fn ready(&mut self) {
        backend::ready_for_query(&mut self.output, TransactionStatus::Idle);
    }

    async fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await?;
            self.output = Vec::new();
        }
        Ok(())
    }

    async fn fatal(&mut self, message: &'static str) -> io::Result<()> {
        ErrorResponse::fatal(SqlState::PROTOCOL_VIOLATION, message).encode(&mut self.output);
        self.flush().await?;
        self.stream.shutdown().await?;
        // closing with bytes unread would reset the connection and take the message back
        let _ = tokio::time::timeout(GOODBYE, self.drain()).await;
        Ok(())
    }

    async fn drain(&mut self) -> io::Result<()> {
        loop {
            self.input.clear();
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn goodbye(&mut self, why: &ErrorResponse) -> io::Result<()> {
        if self.output.is_empty() {
            why.encode(&mut self.output);
            // a client that does not read cannot hold the process up
            let _ = tokio::time::timeout(GOODBYE, self.flush()).await;
        }
        Ok(())
    }
}

fn is_extended(tag: u8) -> bool {
    matches!(tag, frontend::PARSE | frontend::BIND | frontend::DESCRIBE | frontend::EXECUTE | frontend::CLOSE)
}
