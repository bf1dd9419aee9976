//! Clients, server connections and what a pooler's event loop does with them, without sockets and without time.

use std::sync::Arc;

use pgpooler_core::session::{
    Client, Dirt, Exchange, Interner, Naming, Outbox, Server, ServerFault, SessionState, Settings,
};

use pgpooler_core::wire::TransactionStatus;

use super::model::Model;

/// Few, so that statements are evicted.
const MAX_PREPARED_STATEMENTS: usize = 3;

/// A client, and what it should have seen.
pub(crate) struct Party {
    session: Client,
    settings: Vec<(String, String)>,
    carry: Vec<u8>,
    /// Written by the client, not read by the pooler.
    pub(crate) outgoing: Vec<u8>,
    received: Vec<u8>,
    link: Option<Link>,
    /// It has left, or was told that it must.
    pub(crate) over: bool,
    alone: Model,
}

#[derive(Clone, Copy)]
struct Link {
    server: usize,
    begun: bool,
}

/// A server connection.
struct Backend {
    session: Server,
    carry: Vec<u8>,
    /// On the way to it.
    to: Vec<u8>,
    model: Model,
    is_idle: bool,
}

/// `PGPOOLER_FUZZ_TRACE=1` shows what happens.
fn note(what: impl FnOnce() -> String) {
    static SHOWN: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    if *SHOWN.get_or_init(|| std::env::var_os("PGPOOLER_FUZZ_TRACE").is_some()) {
        println!("{}", what());
    }
}

/// Everything.
pub(crate) struct World {
    pub(crate) clients: Vec<Party>,
    servers: Vec<Backend>,
    interner: Interner,
}

impl Backend {
    fn open() -> Self {
        let model = Model::new([]);
        let session = Server::new(model.reported());
        Self { session, carry: Vec::new(), to: Vec::new(), model, is_idle: true }
    }

    fn is_quiet(&self) -> bool {
        self.carry.is_empty() && self.to.is_empty()
    }

    /// The model reads `most` bytes of what is on the way to it.
    fn work(&mut self, most: usize) {
        let here: Vec<u8> = self.to.drain(..most.min(self.to.len())).collect();
        note(|| format!("    server gets {}", here.escape_ascii()));
        self.model.receive(&here);
    }

    /// Takes `most` bytes of what the model has sent.
    fn take(&mut self, most: usize) -> Vec<u8> {
        let output = &mut self.model.output;
        output.drain(..most.min(output.len())).collect()
    }

    /// Reads without a client until nothing is owed; false: the connection cannot be used.
    fn settle(&mut self) -> bool {
        loop {
            self.work(usize::MAX);
            let fresh = self.take(usize::MAX);
            if fresh.is_empty() {
                return !self.session.is_busy() && !self.model.is_closed();
            }
            self.carry.extend(fresh);
            match self.session.settle(&self.carry) {
                Ok(dealt_with) => drop(self.carry.drain(..dealt_with)),
                Err(ServerFault::Unexpected { tag }) => panic!("unexpected {:?} at rest", char::from(tag)),
                Err(_) => return false,
            }
        }
    }

    /// What the pooler does with a connection whose client is done with it; false: it is closed.
    fn recycle(&mut self) -> bool {
        if !self.session.can_be_tidied() || !self.is_quiet() || self.session.dirt() == Dirt::Connection {
            return false;
        }
        if self.session.is_busy() && !self.settle() {
            return false;
        }
        if self.session.status() != TransactionStatus::Idle {
            self.session.rollback(&mut self.to);
            if !self.settle() {
                return false;
            }
        }
        if self.session.dirt() != Dirt::None {
            self.session.reset(&mut self.to);
            if !self.settle() {
                return false;
            }
        }
        assert!(self.session.is_clean(), "tidied up and not clean");
        true
    }
}

impl World {
    pub(crate) fn new(clients: usize, servers: usize) -> Self {
        let client = |n: usize| {
            // the last one has a server connection to itself
            let naming = if n == 2 { Naming::Own } else { Naming::Shared };
            let settings = vec![("application_name".to_owned(), format!("client{n}"))];
            Party {
                session: Client::new(naming, Settings::new(settings.clone()), SessionState::Pin),
                alone: Model::new(settings.clone()),
                settings,
                carry: Vec::new(),
                outgoing: Vec::new(),
                received: Vec::new(),
                link: None,
                over: false,
            }
        };
        Self {
            clients: (0..clients).map(client).collect(),
            servers: (0..servers).map(|_| Backend::open()).collect(),
            interner: Interner::new([7; 16], Arc::default()),
        }
    }

    /// A client that takes the place of one that has left.
    pub(crate) fn replace_client(&mut self, n: usize) {
        let fresh = Self::new(self.clients.len(), 0).clients.into_iter().nth(n);
        if let (Some(place), Some(fresh)) = (self.clients.get_mut(n), fresh) {
            *place = fresh;
        }
    }

    /// The pooler reads `most` bytes of a client. False: there was nothing to do.
    pub(crate) fn read_client(&mut self, n: usize, most: usize) -> bool {
        let Some(client) = self.clients.get(n) else { return false };
        let server = client.link.and_then(|link| self.servers.get(link.server));
        let resumes = server.is_some_and(|server| server.session.may_resume());
        if client.over || client.session.is_leaving() || client.outgoing.is_empty() && !resumes {
            return false;
        }
        let Some(link) = client.link.or_else(|| self.check_out(n)) else { return false };
        let waits = |server: &Backend| server.session.is_asking() || server.session.is_waiting();
        if self.servers.get(link.server).is_some_and(waits) {
            return false;
        }
        self.relay_client(n, link, most);
        self.look(n);
        true
    }

    fn check_out(&mut self, n: usize) -> Option<Link> {
        let server = self.servers.iter().position(|server| server.is_idle)?;
        let backend = self.servers.get_mut(server)?;
        // what came while it lay idle
        if !backend.settle() {
            *backend = Backend::open();
        }
        backend.is_idle = false;
        let link = Link { server, begun: false };
        self.clients.get_mut(n)?.link = Some(link);
        Some(link)
    }

    fn relay_client(&mut self, n: usize, link: Link, most: usize) {
        let (Some(client), Some(server)) = (self.clients.get_mut(n), self.servers.get_mut(link.server))
        else {
            return;
        };
        let fresh: Vec<u8> = client.outgoing.drain(..most.min(client.outgoing.len())).collect();
        client.alone.receive(&fresh);
        note(|| format!("client {n} sends {}", fresh.escape_ascii()));
        client.carry.extend(&fresh);
        let input = std::mem::take(&mut client.carry);
        let (mut to_client, mut to_server) = (Outbox::default(), Outbox::default());
        let mut exchange = Exchange {
            client: &mut client.session,
            server: &mut server.session,
            interner: &mut self.interner,
            to_client: &mut to_client,
            to_server: &mut to_server,
            max_prepared_statements: MAX_PREPARED_STATEMENTS,
        };
        if !link.begun {
            exchange.begin();
        }
        let outcome = exchange.client_bytes(&input);
        to_client.copy_remaining(&input, 0, &mut client.received);
        to_server.copy_remaining(&input, 0, &mut server.to);
        client.link = Some(Link { begun: true, ..link });
        match outcome {
            Ok(dealt_with) => client.carry = input.get(dealt_with..).unwrap_or_default().to_vec(),
            Err(_) => self.end(n),
        }
    }

    /// A server reads `most` bytes of what is on the way to it.
    pub(crate) fn work(&mut self, server: usize, most: usize) -> bool {
        let Some(server) = self.servers.get_mut(server) else { return false };
        let before = server.to.len();
        server.work(most);
        server.to.len() != before
    }

    /// The pooler reads `most` bytes of a server.
    pub(crate) fn read_server(&mut self, at: usize, most: usize) -> bool {
        let linked = |client: &Party| client.link.is_some_and(|link| link.server == at);
        let Some(n) = self.clients.iter().position(linked) else { return false };
        let (Some(client), Some(server)) = (self.clients.get_mut(n), self.servers.get_mut(at)) else {
            return false;
        };
        let fresh = server.take(most);
        note(|| format!("    server sends {}", fresh.escape_ascii()));
        if fresh.is_empty() {
            if server.model.is_closed() && server.to.is_empty() {
                self.end(n);
                return true;
            }
            return false;
        }
        server.carry.extend(fresh);
        let input = std::mem::take(&mut server.carry);
        let (mut to_client, mut to_server) = (Outbox::default(), Outbox::default());
        let outcome = Exchange {
            client: &mut client.session,
            server: &mut server.session,
            interner: &mut self.interner,
            to_client: &mut to_client,
            to_server: &mut to_server,
            max_prepared_statements: MAX_PREPARED_STATEMENTS,
        }
        .server_bytes(&input);
        to_client.copy_remaining(&input, 0, &mut client.received);
        to_server.copy_remaining(&input, 0, &mut server.to);
        match outcome {
            Ok(dealt_with) => {
                server.carry = input.get(dealt_with..).unwrap_or_default().to_vec();
                self.look(n);
            }
            Err(ServerFault::Terminated { .. }) => {
                assert!(server.model.is_closed(), "an honest server was taken for dead");
                self.end(n);
            }
            Err(fault) => panic!("an honest server was faulted: {fault}"),
        }
        true
    }

    /// Whether a link has come to its end.
    fn look(&mut self, n: usize) {
        let Some(client) = self.clients.get(n) else { return };
        let Some((link, server)) = client.link.and_then(|link| Some((link, self.servers.get(link.server)?)))
        else {
            return;
        };
        let leaves = client.session.is_leaving() && !server.session.is_busy() && server.is_quiet();
        let clean = server.session.may_part() && server.is_quiet();
        if leaves {
            self.end(n);
        } else if clean && link.begun && client.session.naming() == Naming::Shared {
            self.let_go(n);
        }
        self.compare(n);
    }

    /// The client is gone: by its own will, or because it was told so.
    pub(crate) fn end(&mut self, n: usize) {
        note(|| format!("client {n} is gone"));
        if let Some(client) = self.clients.get_mut(n) {
            client.over = true;
        }
        self.let_go(n);
        self.compare(n);
    }

    fn let_go(&mut self, n: usize) {
        let Some(link) = self.clients.get_mut(n).and_then(|client| client.link.take()) else { return };
        let Some(server) = self.servers.get_mut(link.server) else { return };
        let Some(client) = self.clients.get(n) else { return };
        server.session.part(&client.session);
        if server.session.is_clean() && server.is_quiet() {
            // the session's word against the server's own
            let rest = format!("{:?}", server.model);
            assert!(server.model.is_at_rest() || server.model.is_closed(), "called clean: {rest}");
        }
        if !server.model.is_closed() && server.recycle() {
            assert!(server.model.is_at_rest(), "recycled: {:?}", server.model);
            server.is_idle = true;
        } else {
            *server = Backend::open();
        }
    }

    /// `pg_terminate_backend`.
    pub(crate) fn terminate(&mut self, server: usize) {
        if let Some(server) = self.servers.get_mut(server) {
            server.model.terminate();
        }
    }

    fn compare(&self, n: usize) {
        // who breaks the protocol is answered as far as possible, and must harm nobody else
        let Some(client) = self.clients.get(n).filter(|client| !client.alone.is_broken()) else { return };
        let expected = client.alone.output.get(..client.received.len());
        assert!(
            expected == Some(&client.received),
            "client {n} {:?}\n got      {}\n expected {}",
            client.settings,
            client.received.escape_ascii(),
            client.alone.output.escape_ascii()
        );
    }

    /// Lets everything that is on the way arrive.
    pub(crate) fn run(&mut self) {
        let mut moved = true;
        while moved {
            moved = false;
            for n in 0..self.clients.len() {
                moved |= self.read_client(n, usize::MAX);
            }
            for at in 0..self.servers.len() {
                moved |= self.work(at, usize::MAX);
                moved |= self.read_server(at, usize::MAX);
            }
        }
    }

    /// Every client that is still there has all that it is owed.
    pub(crate) fn conclude(&mut self) {
        for n in 0..self.clients.len() {
            self.run();
            if let Some(client) = self.clients.get(n)
                && !client.over
                && client.outgoing.is_empty()
                && !client.alone.is_broken()
            {
                let owed = client.alone.output.get(client.received.len()..).unwrap_or_default();
                assert!(owed.is_empty(), "client {n} never got {}", owed.escape_ascii());
            }
            // whoever waits gets its server connection
            self.end(n);
        }
    }
}
