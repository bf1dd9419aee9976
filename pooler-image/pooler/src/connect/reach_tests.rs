//! Every server and every address in turn, and never two at once.

use std::cell::RefCell;
use std::collections::HashMap;

use pgpooler_config::TargetRole;
use pgpooler_core::login::LoginError;
use proptest::prelude::*;

use super::*;

/// What a server does with a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Good,
    Refused,
    Standby,
    Starting,
    Full,
    NoTls,
    WrongPassword,
    /// It takes the login, says nothing, and does not let go.
    Stuck,
}

/// Scripted servers: the addresses of each host, and what is at each. Whatever else is asked for is unknown.
#[derive(Default)]
struct Servers {
    hosts: HashMap<String, Vec<SocketAddr>>,
    answers: HashMap<SocketAddr, Answer>,
    /// What was done, in order.
    done: RefCell<Vec<String>>,
}

fn refused_with(sqlstate: SqlState) -> LoginError {
    let raw = pgpooler_core::wire::ErrorResponse::fatal(sqlstate, "no").to_bytes();
    LoginError::Refused { sqlstate, message: "no".to_owned(), raw }
}

impl Answer {
    fn error(self) -> ConnectErrorKind {
        match self {
            Self::Good | Self::Refused => ConnectErrorKind::Connect(io::ErrorKind::ConnectionRefused.into()),
            Self::Standby => {
                ConnectErrorKind::WrongRole { found: TargetRole::Standby, wanted: TargetRole::Primary }
            }
            Self::Starting => ConnectErrorKind::Busy(refused_with(SqlState::CANNOT_CONNECT_NOW)),
            Self::Full => ConnectErrorKind::Busy(refused_with(SqlState::TOO_MANY_CONNECTIONS)),
            Self::NoTls => ConnectErrorKind::NoTls,
            Self::WrongPassword => ConnectErrorKind::Login(refused_with(SqlState::INVALID_PASSWORD)),
            Self::Stuck => ConnectErrorKind::Timeout(std::time::Duration::from_secs(15)),
        }
    }
}

impl Reach for Servers {
    type Login = SocketAddr;
    type Stream = SocketAddr;

    async fn addresses(&self, host: &str, _port: u16) -> Result<Vec<SocketAddr>, ConnectErrorKind> {
        let unknown = || ConnectErrorKind::Resolve(io::ErrorKind::NotFound.into());
        self.hosts.get(host).cloned().ok_or_else(unknown)
    }

    async fn log_in(&self, spot: Spot, host: &str) -> Result<SocketAddr, Refused<SocketAddr>> {
        let Spot { address, .. } = spot;
        self.done.borrow_mut().push(format!("{host} {}", address.port()));
        match self.answers.get(&address).copied().unwrap_or(Answer::Refused) {
            Answer::Good => Ok(address),
            Answer::Refused => Err(Refused { kind: Answer::Refused.error(), stream: None }),
            answer => Err(Refused { kind: answer.error(), stream: Some(address) }),
        }
    }

    async fn let_go(&self, stream: &mut SocketAddr) -> bool {
        self.done.borrow_mut().push(format!("close {}", stream.port()));
        self.answers.get(stream) != Some(&Answer::Stuck)
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Hosts `a`, `b`, ... with what is at each of their addresses, whose ports are 1, 2, ... over all of them.
fn servers(hosts: &[&[Answer]]) -> (Servers, Target) {
    let (mut servers, mut target) = (Servers::default(), Target::default());
    let mut port = 0;
    for (name, answers) in ('a'..).zip(hosts) {
        let mut addresses = Vec::new();
        for answer in *answers {
            port += 1;
            addresses.push(address(port));
            servers.answers.insert(address(port), *answer);
        }
        servers.hosts.insert(name.to_string(), addresses);
        target.hosts.push(Place { host: name.to_string(), port: None });
    }
    (servers, target)
}

async fn outcome(servers: &Servers, target: &Target, route: Route) -> Result<u16, Failed<SocketAddr>> {
    first_good(target, route, servers).await.map(|(_, login)| login.port())
}

#[tokio::test]
async fn the_first_server_that_will_do_is_used_and_each_lets_go_before_the_next_is_tried() {
    let (servers, target) = servers(&[
        &[Answer::Refused, Answer::Starting],
        &[Answer::Standby],
        &[Answer::Good],
        &[Answer::Good],
    ]);
    assert_eq!(outcome(&servers, &target, Route::default()).await.ok(), Some(4));
    assert_eq!(servers.done.take(), ["a 1", "a 2", "close 2", "b 3", "close 3", "c 4"]);
}

#[tokio::test]
async fn the_last_good_address_of_the_last_good_host_comes_first() {
    let (servers, target) = servers(&[&[Answer::Good], &[Answer::Good, Answer::Good]]);
    let mut route = Route::default();
    route.succeeded(1, address(3));
    assert_eq!(outcome(&servers, &target, route).await.ok(), Some(3));
    assert_eq!(servers.done.take(), ["b 3"]);
}

#[tokio::test]
async fn a_host_without_an_address_is_passed_over() {
    let (mut servers, target) = servers(&[&[Answer::Good], &[Answer::Good]]);
    servers.hosts.remove("a");
    assert_eq!(outcome(&servers, &target, Route::default()).await.ok(), Some(2));
}

#[tokio::test]
async fn where_a_server_does_not_let_go_no_other_is_tried_until_the_next_time() {
    let (servers, target) = servers(&[&[Answer::Stuck], &[Answer::Good]]);
    let failed = outcome(&servers, &target, Route::default()).await.err().unwrap();
    assert_eq!(failed.stream, Some(address(1)), "its slot is held until the end was seen");
    let stuck = failed.stuck.unwrap();
    assert_eq!(stuck, Spot { place: 0, address: address(1) });
    let mut route = Route::default();
    route.got_stuck(stuck.place, stuck.address);
    assert_eq!(outcome(&servers, &target, route).await.ok(), Some(2));
}

#[tokio::test]
async fn what_another_server_would_say_as_well_is_said_at_once() {
    let (servers, target) = servers(&[&[Answer::Refused], &[Answer::WrongPassword], &[Answer::Good]]);
    let failed = outcome(&servers, &target, Route::default()).await.err().unwrap();
    assert!(matches!(failed.kind, ConnectErrorKind::Login(_)), "{}", failed.told.log);
    assert_eq!(servers.done.take(), ["a 1", "b 2"]);
}

#[tokio::test]
async fn of_several_errors_the_one_counts_that_says_most_and_all_are_told() {
    let (servers, target) = servers(&[&[Answer::Standby], &[Answer::Refused], &[Answer::Full]]);
    let failed = outcome(&servers, &target, Route::default()).await.err().unwrap();
    assert_eq!(failed.kind.sqlstate(), Some(SqlState::TOO_MANY_CONNECTIONS));
    for part in [
        "a:5432 (127.0.0.1): the server is a standby, and target.role is primary; ",
        "; c:5432 (127.0.0.1): ",
    ] {
        assert!(failed.told.log.contains(part), "{}", failed.told.log);
    }
    assert!(!failed.told.clients.contains("127.0.0.1"), "{}", failed.told.clients);
    for (one, other, refuses_at_once) in [
        (Answer::Starting, Answer::NoTls, false),
        (Answer::Refused, Answer::NoTls, true),
        (Answer::Standby, Answer::Refused, false),
    ] {
        for pair in [[one, other], [other, one]] {
            let (servers, target) = self::servers(&[&pair[..1], &pair[1..]]);
            let failed = outcome(&servers, &target, Route::default()).await.err().unwrap();
            assert_eq!(!failed.kind.is_temporary(), refuses_at_once, "{}", failed.told.log);
        }
    }
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        Just(Answer::Good),
        Just(Answer::Refused),
        Just(Answer::Standby),
        Just(Answer::Starting),
        Just(Answer::Full),
        Just(Answer::NoTls),
    ]
}

proptest! {
    /// Whatever the order: the login succeeds if there is a good one, no address is tried twice, and no connection is
    /// left open when the next is tried.
    #[test]
    fn a_good_server_is_found_wherever_it_is(
        hosts in prop::collection::vec(prop::collection::vec(answer(), 1..4), 1..5), first in 0usize..5
    ) {
        let slices: Vec<&[Answer]> = hosts.iter().map(Vec::as_slice).collect();
        let (servers, target) = servers(&slices);
        let mut route = Route::default();
        route.succeeded(first, address(u16::try_from(first + 1).unwrap()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let found = runtime.block_on(outcome(&servers, &target, route));
        prop_assert_eq!(found.is_ok(), hosts.iter().flatten().any(|answer| *answer == Answer::Good));
        let done = servers.done.take();
        let mut tried: Vec<_> = done.iter().filter(|step| !step.starts_with("close")).collect();
        for (step, next) in done.iter().zip(done.iter().skip(1)) {
            let port: u16 = step.rsplit(' ').next().unwrap().parse().unwrap();
            let has_stream = servers.answers[&address(port)] != Answer::Refused;
            prop_assert_eq!(!step.starts_with("close") && has_stream, next == &format!("close {port}"));
        }
        let count = tried.len();
        tried.sort();
        tried.dedup();
        prop_assert_eq!(tried.len(), count);
    }
}
