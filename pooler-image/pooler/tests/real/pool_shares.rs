//! Pools that compete for the process's connections: weights, minimums, and a limit that is too small for them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgpooler_test_support::{Login, Message, Pooler, PoolerOptions, RawClient, wait_until};

use super::{options, server, start, value};

const PATIENCE: Duration = Duration::from_mins(1);

/// Users of this test alone, so that nobody else's connections are counted.
fn users(names: [&str; 2], options: PoolerOptions) -> PoolerOptions {
    names.into_iter().fold(options, |options, name| {
        server().create_user(name, name).unwrap();
        options.user(name, name)
    })
}

fn login(pooler: &Pooler, user: &str) -> RawClient {
    RawClient::login(&pooler.login(user, user, "postgres")).unwrap()
}

fn reload(pooler: &Pooler, options: &PoolerOptions) {
    pooler.configure(options).unwrap();
    let mut admin =
        RawClient::login(&Login { database: "pgpooler".to_owned(), ..pooler.superuser() }).unwrap();
    admin.query("reload").unwrap();
}

/// Server connections of each user.
fn connections(users: [&str; 2]) -> [usize; 2] {
    let sql =
        "select usename, count(*) from pg_stat_activity where backend_type = 'client backend' group by 1";
    let rows = server().sql(sql).unwrap();
    let counts: BTreeMap<_, _> =
        rows.into_iter().map(|row| (row[0].clone(), row[1].parse().unwrap())).collect();
    users.map(|user| counts.get(user).copied().unwrap_or_default())
}

fn wait_for(what: &str, users: [&str; 2], hold: impl Fn([usize; 2]) -> bool) {
    let mut last = [0; 2];
    let probe = || {
        last = connections(users);
        hold(last)
    };
    let outcome = wait_until(what, PATIENCE, probe, || Ok(()));
    assert!(outcome.is_ok(), "{what}: {last:?} of {users:?}");
}

/// Runs `act` while so many clients of each user never rest.
fn under_load(pooler: &Pooler, users: &[&str], clients: usize, act: impl FnOnce()) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for user in users {
            for _ in 0..clients {
                let over = &over;
                scope.spawn(move || {
                    let mut client = login(pooler, user);
                    while !over.load(Ordering::Relaxed) {
                        assert_eq!(value(&mut client, "select 'x' from pg_sleep(0.01)"), "x");
                    }
                });
            }
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn three_to_one_on_four_connections_whoever_was_there_first() {
    let names = ["heavy", "light"];
    let tables = "[[pools]]\nname = \"heavy\"\nusers = [\"heavy\"]\nweight = 300\n";
    let options = users(names, options(4)).tables(tables);
    for workers in ["1", "2"] {
        let pooler = start(&options.clone().setting("workers", workers));
        // the light ones take all there is
        under_load(&pooler, &["light"], 8, || {
            wait_for("the light ones have all", names, |counts| counts == [0, 4]);
            under_load(&pooler, &["heavy"], 8, || {
                wait_for("three to one", names, |counts| counts == [3, 1]);
                let samples: Vec<_> = (0..20)
                    .map(|_| {
                        std::thread::sleep(Duration::from_millis(50));
                        connections(names)
                    })
                    .collect();
                assert!(samples.iter().all(|[heavy, light]| heavy + light <= 4), "{samples:?}");
                let fair = samples.iter().filter(|counts| **counts == [3, 1]).count();
                assert!(fair > 15, "{samples:?} with {workers} loops");
            });
            wait_for("the light ones have all again", names, |counts| counts[1] == 4);
        });
        drop(pooler);
        wait_for("all are closed", names, |counts| counts == [0, 0]);
    }
}

#[test]
fn a_changed_weight_is_in_force_with_the_reload() {
    let names = ["former", "latter"];
    let options = users(names, options(4));
    let weighted = |[former, latter]: [u32; 2]| {
        let rule =
            |name, weight| format!("[[pools]]\nname = \"{name}\"\nusers = [\"{name}\"]\nweight = {weight}\n");
        options.clone().tables(&(rule(names[0], former) + &rule(names[1], latter)))
    };
    for workers in ["1", "2"] {
        let with_loops = |options: PoolerOptions| options.setting("workers", workers);
        let pooler = start(&with_loops(weighted([300, 100])));
        under_load(&pooler, &names, 8, || {
            wait_for("three to one", names, |counts| counts == [3, 1]);
            reload(&pooler, &with_loops(weighted([100, 300])));
            wait_for("one to three", names, |counts| counts == [1, 3]);
            reload(&pooler, &with_loops(options.clone()));
            wait_for("without a rule, two each", names, |counts| counts == [2, 2]);
        });
        drop(pooler);
        wait_for("all are closed", names, |counts| counts == [0, 0]);
    }
}

#[test]
fn a_minimum_is_opened_ahead_is_kept_and_is_not_taken() {
    let names = ["keeper", "taker"];
    let rule =
        |minimum| format!("[[pools]]\nname = \"k\"\nusers = [\"keeper\"]\nmin_pool_size = {minimum}\n");
    let options = users(names, options(5)).setting("server_idle_timeout", "\"500ms\"");
    let pooler = start(&options.clone().tables(&rule(3)));
    assert_eq!(connections(names), [0, 0], "nobody has come yet");
    let mut client = login(&pooler, "keeper");
    assert_eq!(value(&mut client, "select 1"), "1");
    wait_for("the minimum is open", names, |counts| counts[0] == 3);
    drop(client);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(connections(names)[0], 3, "kept for longer than server_idle_timeout");
    under_load(&pooler, &["taker"], 8, || {
        wait_for("the rest is taken", names, |counts| counts == [3, 2]);
        for _ in 0..20 {
            assert_eq!(connections(names), [3, 2]);
        }
    });
    reload(&pooler, &options.clone().tables(&rule(1)));
    wait_for("a smaller minimum", names, |counts| counts == [1, 0]);
    server().sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'keeper'").unwrap();
    wait_for("one that PostgreSQL has closed is replaced", names, |counts| counts[0] == 1);
    reload(&pooler, &options.tables(&rule(0)));
    wait_for("no minimum", names, |counts| counts == [0, 0]);
}

#[test]
fn a_limit_smaller_than_the_minimums_is_shared_by_weight_and_held() {
    let names = ["large", "small"];
    let rules = "[[pools]]\nname = \"large\"\ndatabase = \"*\"\nusers = [\"large\"]\nweight = 300\n";
    let options =
        users(names, options(4)).setting("min_pool_size", "4").setting("workers", "2").tables(rules);
    let pooler = start(&options);
    let mut clients = names.map(|user| login(&pooler, user));
    for client in &mut clients {
        assert_eq!(value(client, "select 1"), "1");
    }
    wait_for("all that there is, by weight", names, |counts| counts == [3, 1]);
    let mut admin =
        RawClient::login(&Login { database: "pgpooler".to_owned(), ..pooler.superuser() }).unwrap();
    let shown = admin.query("show databases").unwrap();
    let mut rows = shown.iter().filter(|message| message.tag == b'D').map(Message::columns);
    let columns = rows.find(|columns| columns[0] == "postgres").unwrap();
    assert_eq!(columns[6], "4", "min_pool_size of {columns:?}");
    reload(&pooler, &options.clone().setting("min_pool_size", "2").setting("max_server_connections", "2"));
    wait_for("one each", names, |counts| counts == [1, 1]);
    for client in &mut clients {
        assert_eq!(value(client, "select 'served'"), "served");
    }
}
