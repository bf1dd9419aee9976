//! Several loops: which clients are on which, and what that costs.

use std::collections::BTreeSet;

use pgpooler_test_support::{Login, Pooler, RawClient};

use super::{lends, options, server, start, value};

/// Databases and users of as many pools as two loops find many.
const POOLS: [(&str, &str); 4] =
    [("postgres", "app"), ("postgres", "other"), ("template1", "app"), ("template1", "other")];

fn log_in(pooler: &Pooler, (database, user): (&str, &str)) -> RawClient {
    let login = Login { database: database.to_owned(), ..pooler.login(user, user, database) };
    RawClient::login(&login).unwrap()
}

#[test]
fn many_pools_live_on_one_loop_each_and_no_connection_moves() {
    assert!(server().port() > 0);
    let pooler = start(&options(POOLS.len() as u32).setting("workers", "2"));
    // until so many pools are known, they are thought to be few
    drop(POOLS.map(|pool| log_in(&pooler, pool)));
    // one after the other, each would come to another loop
    let mut clients: Vec<_> =
        POOLS.into_iter().flat_map(|pool| [pool; 4]).map(|pool| (pool, log_in(&pooler, pool))).collect();
    let mut ask = || {
        let ask = |(pool, client): &mut _| (*pool, value(client, "select pg_backend_pid()"));
        clients.iter_mut().map(ask).collect::<BTreeSet<_>>()
    };
    // connections of the first logins, which may have been elsewhere, make room first
    let (mut backends, mut calm) = (ask(), 0);
    for _ in 0..50 {
        let now = ask();
        calm = if now == backends { calm + 1 } else { 0 };
        backends = now;
        if calm == 5 {
            break;
        }
    }
    let before = lends(&pooler);
    assert_eq!(backends.len(), POOLS.len(), "{backends:?}");
    for _ in 0..10 {
        assert_eq!(ask(), backends);
    }
    assert_eq!(lends(&pooler), before);
}

#[test]
fn the_clients_of_a_large_pool_are_on_all_loops_and_share_its_last_connection() {
    let pooler = start(&options(4).setting("workers", "2"));
    let mut holders: Vec<_> = (0..3).map(|_| log_in(&pooler, POOLS[0])).collect();
    for holder in &mut holders {
        holder.query("begin").unwrap();
    }
    let mut clients: Vec<_> = (0..4).map(|_| log_in(&pooler, POOLS[0])).collect();
    for _ in 0..5 {
        for client in &mut clients {
            assert_eq!(value(client, "select 'served'"), "served");
        }
    }
    assert!(lends(&pooler) > 0, "all were on one loop");
}
