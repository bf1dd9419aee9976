//! Servers that vanish without a word: nothing ends, and nothing is answered.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use pgpooler_test_support::PoolerOptions;

use super::{app, before, primary, show_state, start, value, wait_until};

/// A connection through a [`Network`].
#[derive(Clone)]
struct Line {
    ends: Arc<(TcpStream, TcpStream)>,
    silent: Arc<AtomicBool>,
}

/// What lies between the pooler and a server: it can lose single connections, with a word or without.
struct Network {
    port: u16,
    lines: Arc<Mutex<Vec<Line>>>,
}

impl Network {
    fn before(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let lines: Arc<Mutex<Vec<Line>>> = Arc::default();
        let all = Arc::clone(&lines);
        thread::spawn(move || {
            for pooler in listener.incoming() {
                let Ok(to_server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) else { return };
                let line = Line { ends: Arc::new((pooler.unwrap(), to_server)), silent: Arc::default() };
                all.lock().unwrap().push(line.clone());
                let other = line.clone();
                thread::spawn(move || pass_on(&line.ends.0, &line.ends.1, &line.silent));
                thread::spawn(move || pass_on(&other.ends.1, &other.ends.0, &other.silent));
            }
        });
        Self { port, lines }
    }

    /// Passes nothing on any more.
    fn silence(&self, line: usize) {
        self.lines.lock().unwrap()[line].silent.store(true, Ordering::Relaxed);
    }

    /// Ends both sides.
    fn cut(&self, line: usize) {
        let ends = Arc::clone(&self.lines.lock().unwrap()[line].ends);
        ends.0.shutdown(Shutdown::Both).unwrap();
        // whoever passes on may have seen the first end and ended the other one by now
        let _ = ends.1.shutdown(Shutdown::Both);
    }
}

fn pass_on(mut from: &TcpStream, mut to: &TcpStream, silent: &AtomicBool) {
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if !silent.load(Ordering::Relaxed) && to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    // who hangs up is hung up on, be it silent or not
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

#[test]
fn when_one_connection_is_lost_no_client_gets_another_that_is_dead() {
    let server = primary();
    for workers in ["1", "2"] {
        let network = Network::before(server.port());
        let options = PoolerOptions { target_port: network.port, ..before(&server) };
        let pooler = start(&options.setting("workers", workers));
        let (mut one, mut two) = (app(&pooler), app(&pooler));
        for client in [&mut one, &mut two] {
            client.query("begin").unwrap();
        }
        for client in [&mut one, &mut two] {
            client.query("commit").unwrap();
        }
        assert_eq!(network.lines.lock().unwrap().len(), 2);
        network.silence(0);
        network.cut(1);
        wait_until("it is noticed", || {
            pooler.http_get("/metrics").unwrap().1.contains("state=\"tested\"} 1")
        });
        for client in [&mut one, &mut two] {
            assert_eq!(value(client, "select 1"), "1", "{workers} loops");
        }
        wait_until("the dead one is given up", || show_state(&pooler, "server_connections_held") != "3");
    }
}

#[test]
fn a_server_that_takes_a_login_and_says_nothing_keeps_its_slot_and_nobody_from_the_next() {
    let server = primary();
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let keys =
        format!("hosts = [\"127.0.0.1:{port}\", \"127.0.0.1:{}\"]\nrole = \"primary\"\n", server.port());
    let options = PoolerOptions { target_keys: keys, ..before(&server) };
    let pooler = start(&options.setting("server_connect_timeout", "\"200ms\""));
    let mut client = app(&pooler);
    assert_eq!(value(&mut client, "select 1"), "1");
    assert_eq!(show_state(&pooler, "server_host"), format!("127.0.0.1:{}", server.port()));
    assert_eq!(
        show_state(&pooler, "server_connections_held"),
        "2",
        "nobody knows that the other is no server"
    );
    drop(silent);
    wait_until("its end is seen", || show_state(&pooler, "server_connections_held") == "1");
}
