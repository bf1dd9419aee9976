//! Wrong passwords in a storm.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pgpooler_test_support::{Message, Pooler, wire};

use super::super::{app_login, options, sqlstate};
use super::{app_startup, client_from, lines, metric, scram_first, start, work_honestly};

const ATTACKERS: usize = 4;

/// Failed logins that an address may have in a second.
const PACE: u64 = 20;

const PATIENCE: Duration = Duration::from_secs(20);

/// A login with a proof that is not worth its computing. What the client was told in the end; none: the connection ended.
fn guess(host: u8, pooler: &Pooler) -> Option<Message> {
    let mut client = client_from(host, pooler);
    client.send(&app_startup()).ok()?;
    let asked = client.read().ok()?;
    if asked.tag == b'E' {
        return Some(asked);
    }
    client.send(&scram_first()).ok()?;
    let challenge = client.read().ok()?;
    let text = String::from_utf8_lossy(challenge.body.get(4..)?).into_owned();
    let nonce = text.split(',').next()?.to_owned();
    let proof = format!("c=biws,{nonce},p={}=", "A".repeat(43));
    client.send(&wire::message(b'p', proof.as_bytes())).ok()?;
    client.read().ok()
}

#[test]
fn a_storm_of_wrong_passwords_is_slowed_down_and_nobody_elsewhere_notices() {
    let pooler = start(&options(3).setting("max_failed_logins_per_address", &PACE.to_string()));
    work_honestly(&pooler, 3);
    let (over, guesses) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..ATTACKERS {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    guess(2, &pooler);
                    guesses.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // until it has been slowed down for a while
        let refused =
            || metric(&pooler, "pgpooler_client_logins_refused_total{reason=\"max_failed_logins\"}");
        while begun.elapsed() < PATIENCE && (guesses.load(Ordering::Relaxed) < 100 || refused() < 100) {
            work_honestly(&pooler, 5);
        }
        over.store(true, Ordering::Relaxed);
    });
    let seconds = begun.elapsed().as_secs() + 1;
    let failed = metric(&pooler, "pgpooler_client_login_failures_total{reason=\"credentials\"}");
    let most = PACE * (seconds + 1) + ATTACKERS as u64;
    assert!(failed <= most, "{failed} guesses in {seconds} s, which are more than {most}");
    assert!(failed >= PACE, "{failed} guesses");
    let minutes = 1 + seconds as usize / 60;
    for (text, most) in [("login failed peer=127.0.0.2", 5), ("too many failed logins", 5)] {
        let told = lines(&pooler, text);
        assert!((1..=most * minutes).contains(&told), "{told} lines say {text:?}:\n{}", pooler.log());
    }
}

#[test]
fn an_address_that_stops_guessing_is_served_as_before() {
    let pooler = start(&options(2).setting("max_failed_logins_per_address", "10"));
    let wrong = (0..10).filter_map(|_| guess(2, &pooler)).collect::<Vec<_>>();
    assert_eq!(sqlstate(&wrong).as_deref(), Some("28P01"));
    let until = Instant::now() + PATIENCE;
    let login = app_login(&pooler);
    // it may still have to wait for its turn, which is no refusal
    let (_, told) = client_from(2, &pooler).log_in(&login).unwrap();
    assert_eq!(sqlstate(&told), None);
    assert!(Instant::now() < until);
    assert_eq!(lines(&pooler, "login failed peer=127.0.0.2"), 5, "ten logins failed");
}

#[test]
fn a_fleet_behind_one_address_is_not_slowed_down_by_a_few_who_have_the_wrong_password() {
    let pooler = start(&options(3).setting("workers", "2"));
    let login = app_login(&pooler);
    thread::scope(|scope| {
        for hand in 0..8 {
            let (pooler, login) = (&pooler, &login);
            scope.spawn(move || {
                for n in 0..25 {
                    if (hand + n) % 5 == 0 {
                        let told = guess(2, pooler).expect("an answer");
                        assert_eq!(told.field(b'C').as_deref(), Some("28P01"));
                    }
                    let (_, told) = client_from(2, pooler).log_in(login).unwrap();
                    assert_eq!(sqlstate(&told), None);
                }
            });
        }
    });
    assert_eq!(lines(&pooler, "too many failed logins"), 0);
}
