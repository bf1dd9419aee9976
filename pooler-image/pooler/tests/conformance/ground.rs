//! The server and the poolers that scripts are played on, kept from one test to the next.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use pgpooler_test_support::{Login, Pooler, PoolerOptions, Postgres, PostgresOptions};

/// How many server connections, how many loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Size {
    pub(crate) servers: u32,
    pub(crate) loops: u16,
}

/// Every script is played on each of these.
pub(crate) const SIZES: [Size; 3] =
    [Size { servers: 1, loops: 1 }, Size { servers: 1, loops: 2 }, Size { servers: 5, loops: 2 }];

/// The one PostgreSQL.
pub(crate) fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let options = PostgresOptions::default()
            .setting("max_connections", "200")
            .setting("max_prepared_transactions", "10");
        let server = Postgres::start(&options).expect("a PostgreSQL server");
        server.create_user("app", "app").expect("a user");
        server.create_user("app_wrong", "not app").expect("a user");
        server
            .sql("GRANT ALL ON SCHEMA public TO public; GRANT CREATE ON DATABASE postgres TO app; CREATE ROLE helper; GRANT helper TO app; GRANT pg_monitor TO app")
            .expect("grants");
        server
    })
}

/// How scripts log in past the pooler.
pub(crate) fn direct() -> Login {
    Login::new(server().port(), "app", "app", "postgres")
}

type Idle = Mutex<HashMap<Size, Vec<Pooler>>>;

fn idle() -> &'static Idle {
    static IDLE: OnceLock<Idle> = OnceLock::new();
    IDLE.get_or_init(Idle::default)
}

/// A pooler that nobody else uses.
pub(crate) fn take(size: Size) -> Pooler {
    let kept = idle().lock().unwrap().get_mut(&size).and_then(Vec::pop);
    kept.unwrap_or_else(|| {
        let options = PoolerOptions::before(server())
            .user("app", "app")
            .user("app_wrong", "not app")
            .setting("max_server_connections", &size.servers.to_string())
            .setting("workers", &size.loops.to_string());
        Pooler::start(env!("CARGO_BIN_EXE_pgpooler"), &options).expect("a pooler")
    })
}

/// For the next test; one that behaved badly is dropped instead.
pub(crate) fn give_back(size: Size, pooler: Pooler) {
    idle().lock().unwrap().entry(size).or_default().push(pooler);
}
