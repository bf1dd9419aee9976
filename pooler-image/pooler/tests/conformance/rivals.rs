//! Other clients of the same pool, which do between two steps of a script whatever could disturb it, and check that
//! nothing of the script disturbs them.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pgpooler_test_support::{Login, Message, RawClient, wire};

/// How long the others may wait for a server connection while the script needs none.
const PATIENCE: Duration = Duration::from_secs(6);

/// The others; dropping it lets them go.
#[derive(Debug)]
pub(crate) struct Rivals {
    ask: SyncSender<()>,
    done: Receiver<Result<()>>,
    pending: bool,
    /// Nobody is served while a script is in a transaction.
    only_server: bool,
}

impl Rivals {
    pub(crate) fn start(login: Login, only_server: bool) -> Self {
        let (ask, asked) = sync_channel(1);
        let (answer, done) = sync_channel(1);
        thread::spawn(move || {
            let mut crowd = Crowd::new(login);
            for () in asked {
                let outcome = crowd.turn();
                if answer.send(outcome).is_err() {
                    return;
                }
            }
        });
        Self { ask, done, pending: false, only_server }
    }

    /// Another disturbance; waits for its end where the script does not hold the only server connection.
    pub(crate) fn disturb(&mut self, script_is_idle: bool) -> Result<(), String> {
        if !self.pending {
            self.ask.send(()).map_err(|_| "the other clients are gone".to_owned())?;
            self.pending = true;
        }
        if script_is_idle || !self.only_server { self.settle() } else { Ok(()) }
    }

    fn settle(&mut self) -> Result<(), String> {
        match self.done.recv_timeout(PATIENCE) {
            Ok(outcome) => {
                self.pending = false;
                outcome.map_err(|error| format!("another client was disturbed: {error:#}"))
            }
            Err(RecvTimeoutError::Timeout) => Err(format!("other clients waited for more than {PATIENCE:?}")),
            Err(RecvTimeoutError::Disconnected) => Err("the other clients panicked".to_owned()),
        }
    }
}

struct Crowd {
    login: Login,
    /// Stays, and keeps its settings.
    steady: Option<RawClient>,
    /// Which disturbance is next; goes on from script to script, so that all meet all.
    next: usize,
}

type Disturbance = fn(&mut Crowd) -> Result<()>;

const DISTURBANCES: [Disturbance; 10] = [
    Crowd::keeps_odd_settings,
    Crowd::prepares_the_same_names,
    Crowd::makes_temporary_tables,
    Crowd::uses_the_unnamed_statement,
    Crowd::prepares_by_sql,
    Crowd::rolls_back,
    Crowd::locks_and_listens,
    Crowd::fails_in_a_pipeline,
    Crowd::hides_settings_in_functions,
    Crowd::leaves_in_a_transaction,
];

impl Crowd {
    fn new(login: Login) -> Self {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static FIRST: AtomicUsize = AtomicUsize::new(0);
        Self { login, steady: None, next: FIRST.fetch_add(3, Ordering::Relaxed) }
    }

    fn turn(&mut self) -> Result<()> {
        let number = self.next % DISTURBANCES.len();
        self.next += 1;
        DISTURBANCES[number](self).with_context(|| format!("disturbance {number}"))
    }

    fn steady(&mut self) -> Result<&mut RawClient> {
        if self.steady.is_none() {
            let mut client = RawClient::login(&self.login.clone().parameter("application_name", "steady"))?;
            client.rows("set timezone = 'Japan'")?;
            client.rows("set datestyle = 'german'")?;
            client.exchange(
                &[
                    wire::parse("s", "select 'not yours', $1::text"),
                    wire::parse("t", "select 'nor this'"),
                    wire::sync(),
                ]
                .concat(),
            )?;
            self.steady = Some(client);
        }
        self.steady.as_mut().context("no client")
    }

    fn fresh(&self) -> Result<RawClient> {
        RawClient::login(&self.login)
    }

    fn keeps_odd_settings(&mut self) -> Result<()> {
        let client = self.steady()?;
        let rows = client.rows("select current_setting('timezone'), current_setting('datestyle'), current_setting('application_name')")?;
        ensure!(rows == [["Japan", "German, DMY", "steady"]], "its settings are {rows:?}");
        Ok(())
    }

    fn prepares_the_same_names(&mut self) -> Result<()> {
        let client = self.steady()?;
        let batch = [wire::bind("", "s", &[Some("steady")]), wire::execute("", 0), wire::sync()].concat();
        let found = client.exchange(&batch)?;
        let row = found.iter().find(|message| message.tag == b'D').map(Message::columns);
        ensure!(row.as_deref() == Some(&["not yours".to_owned(), "steady".to_owned()][..]), "{found:?}");
        let mut other = self.fresh()?;
        let batch = [wire::parse("s", "select 'a third'"), wire::parse("", "selec"), wire::sync()].concat();
        let found = other.exchange(&batch)?;
        ensure!(
            found.iter().map(|message| char::from(message.tag)).collect::<String>() == "1EZ",
            "{found:?}"
        );
        leave(other)
    }

    fn makes_temporary_tables(&mut self) -> Result<()> {
        let mut client = self.fresh()?;
        client.rows("create temp table scratch (not_yours int)")?;
        let kept = client.rows("insert into scratch values (1) returning not_yours")?;
        ensure!(kept == [["1"]], "its temporary table has {kept:?}");
        client.rows("set search_path = pg_temp")?;
        leave(client)
    }

    fn uses_the_unnamed_statement(&mut self) -> Result<()> {
        let client = self.steady()?;
        let first =
            client.exchange(&[wire::parse("", "select 'not yours either'"), wire::sync()].concat())?;
        let second =
            client.exchange(&[wire::bind("", "", &[]), wire::execute("", 0), wire::sync()].concat())?;
        let row = second.iter().find(|message| message.tag == b'D').map(Message::columns);
        ensure!(row.as_deref() == Some(&["not yours either".to_owned()][..]), "{first:?} {second:?}");
        Ok(())
    }

    fn prepares_by_sql(&mut self) -> Result<()> {
        let mut client = self.fresh()?;
        client.rows("prepare s as select 'not yours, by SQL'")?;
        client.rows("prepare q as select 'not yours, by SQL'")?;
        let found = client.rows("execute s")?;
        ensure!(found == [["not yours, by SQL"]], "its statement gives {found:?}");
        leave(client)
    }

    fn rolls_back(&mut self) -> Result<()> {
        let client = self.steady()?;
        client.rows(
            "begin; set local work_mem = '66MB'; set statement_timeout = '33s'; set timezone = 'Portugal'",
        )?;
        client.query("select 1/0")?;
        client.rows("rollback")?;
        let rows = client.rows("select current_setting('timezone'), current_setting('statement_timeout')")?;
        ensure!(rows == [["Japan", "0"]], "its settings are {rows:?}");
        Ok(())
    }

    fn locks_and_listens(&mut self) -> Result<()> {
        let mut client = self.fresh()?;
        client.rows("listen not_yours")?;
        client.rows("select pg_advisory_lock(777, pg_backend_pid())")?;
        client.rows("begin; declare c cursor with hold for select 'not yours'; commit")?;
        leave(client)
    }

    fn fails_in_a_pipeline(&mut self) -> Result<()> {
        let client = self.steady()?;
        let batch = [
            wire::bind("p", "t", &[]),
            wire::execute("p", 0),
            wire::bind("", "nosuch", &[]),
            wire::close(b'S', "t"),
            wire::sync(),
            wire::query("select 'after it'"),
        ];
        client.send(&batch.concat())?;
        let mut tags = String::new();
        for _ in 0..2 {
            tags.extend(client.read_through(b'Z')?.iter().map(|message| char::from(message.tag)));
        }
        ensure!(tags == "2DCEZTDCZ", "{tags}");
        Ok(())
    }

    fn hides_settings_in_functions(&mut self) -> Result<()> {
        let mut client = self.fresh()?;
        client.rows("do $$ begin perform set_config('work_mem', '99MB', false); end $$")?;
        client.rows(
            "select set_config('app.custom', 'not yours', false), set_config('role', 'helper', false)",
        )?;
        leave(client)
    }

    fn leaves_in_a_transaction(&mut self) -> Result<()> {
        let mut client = self.fresh()?;
        client.rows("begin; set work_mem = '88MB'; create temp table scratch (not_yours int)")?;
        leave(client)
    }
}

/// Says goodbye, and waits until the pooler has heard it.
fn leave(mut client: RawClient) -> Result<()> {
    client.send(&wire::terminate())?;
    client.read_to_end().map(drop)
}
