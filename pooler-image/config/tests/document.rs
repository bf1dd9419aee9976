//! Reading, checking and writing the document.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use pgpooler_config::{
    ANY, Document, LogFormat, Place, PoolMode, PoolRule, SYSTEM, Seconds, Target, TargetRole, TlsMode,
    UserSecret, Userlist,
};
use proptest::prelude::*;

fn refusal(text: &str) -> String {
    Document::parse(text).unwrap_err().to_string()
}

#[test]
fn an_empty_document_has_the_defaults() {
    let document = Document::parse("").unwrap();
    assert_eq!(document, Document::default());
    assert_eq!((document.listen_port, document.http_port, document.workers), (6432, 9127, 0));
    assert_eq!((document.max_client_conn, document.max_server_connections), (10_000, 20));
    assert_eq!(document.pool_mode, PoolMode::Transaction);
    assert_eq!(document.client_tls_sslmode, TlsMode::Disable);
    assert_eq!(document.server_tls_sslmode, TlsMode::Prefer);
    assert_eq!(document.target.places().collect::<Vec<_>>(), [("127.0.0.1", 5432)]);
    assert_eq!(document.target.role, TargetRole::Any);
    assert_eq!(document.server_hold_timeout, Seconds::from_secs(60));
}

#[test]
fn numbers_and_strings_are_durations() {
    let text = "query_wait_timeout = 1.5\nserver_lifetime = 3600\ndrain_timeout = \"5m\"\n";
    let document = Document::parse(text).unwrap();
    assert_eq!(document.query_wait_timeout.as_duration().as_millis(), 1500);
    assert_eq!(document.server_lifetime, Seconds::from_secs(3600));
    assert_eq!(document.drain_timeout, Seconds::from_secs(300));
}

#[test]
fn an_unknown_key_is_refused_with_its_place() {
    let told = refusal("listen_port = 6432\n\n  max_conn = 3\n");
    assert!(told.starts_with("line 3, column 3: unknown field `max_conn`"), "{told}");
    let told = refusal("[target]\nhots = \"db\"\n");
    assert!(told.starts_with("line 2, column 1: unknown field `hots`"), "{told}");
    let told = refusal("[[pools]]\nname = \"a\"\nsize = 3\n");
    assert!(told.starts_with("line 3, column 1: unknown field `size`"), "{told}");
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_its_place() {
    let told = refusal("listen_port = \"6432\"\n");
    assert!(told.starts_with("line 1, column 15: invalid type"), "{told}");
    let told = refusal("listen_port = 65536\n");
    assert!(told.starts_with("line 1, column 15: "), "{told}");
    let told = refusal("drain_timeout = -1\n");
    assert!(told.contains("must not be negative"), "{told}");
    let told = refusal("drain_timeout = \"soon\"\n");
    assert!(told.contains("`soon` is not a duration"), "{told}");
    assert!(refusal("pool_mode = \"query\"\n").contains("unknown variant `query`"));
}

#[test]
#[expect(clippy::too_many_lines, reason = "one line a case")]
fn a_value_that_cannot_work_is_refused_by_its_key() {
    for (text, told) in [
        ("max_server_connections = 0", "max_server_connections: must be at least 1"),
        ("max_client_conn = 0", "max_client_conn: must be at least 1"),
        ("max_buffered_bytes = 1000", "max_buffered_bytes: must be at least 1048576"),
        ("listen_port = 0", "listen_port: must be 1 to 65535"),
        ("http_port = 6432", "http_port: must differ from listen_port"),
        ("client_login_timeout = 0", "client_login_timeout: must be more than zero"),
        (
            "client_tls_sslmode = \"allow\"",
            "client_tls_cert_file: must be set unless client_tls_sslmode is \"disable\"",
        ),
        (
            "client_tls_sslmode = \"require\"\nclient_tls_cert_file = \"a\"",
            "client_tls_key_file: must be set unless client_tls_sslmode is \"disable\"",
        ),
        (
            "client_tls_sslmode = \"verify-ca\"\nclient_tls_cert_file = \"a\"\nclient_tls_key_file = \"b\"",
            "client_tls_ca_file: must be set where client_tls_sslmode asks for client certificates",
        ),
        (
            "server_tls_sslmode = \"verify-full\"",
            "server_tls_ca_file: must be a file or \"system\" where server_tls_sslmode verifies certificates",
        ),
        (
            "server_tls_cert_file = \"a\"",
            "server_tls_key_file: must be set together with server_tls_cert_file",
        ),
        ("[target]\nport = 0", "target.port: must be 1 to 65535"),
        ("[target]\nhost = \"\"", "target.host: must not be empty"),
        (
            "[target]\nhost = \"a\"\nhosts = [\"b\"]",
            "target.host: must be left out where target.hosts names the servers",
        ),
        ("[target]\nhosts = [\"a\", \"a:5432\"]", "target.hosts: must not name a server twice"),
        ("[[pools]]\nname = \"\"", "pools.name: must not be empty"),
        ("[[pools]]\nname = \"a\"\nusers = []", "pools.a.users: must not be empty; [\"*\"] means every user"),
        ("[[pools]]\nname = \"a\"\nusers = [\"*\", \"x\"]", "pools.a.users: must have \"*\" alone"),
        ("[[pools]]\nname = \"a\"\npool_size = 0", "pools.a.pool_size: must be at least 1"),
        ("[[pools]]\nname = \"a\"\npool_size_total = 0", "pools.a.pool_size_total: must be at least 1"),
        ("[[pools]]\nname = \"a\"\nweight = 0", "pools.a.weight: must be 1 to 1000"),
        ("[[pools]]\nname = \"a\"\nweight = 1001", "pools.a.weight: must be 1 to 1000"),
        (
            "[[pools]]\nname = \"a\"\npool_size = 2\nmin_pool_size = 3",
            "pools.a.min_pool_size: must not be more than pool_size",
        ),
        (
            "[[pools]]\nname = \"a\"\npool_size_total = 2\nmin_pool_size_total = 3",
            "pools.a.min_pool_size_total: must not be more than pool_size_total",
        ),
        ("min_pool_size = 21", "min_pool_size: must not be more than max_server_connections"),
        (
            "[[pools]]\nname = \"a\"\nmin_pool_size = 21",
            "pools.a.min_pool_size: must not be more than max_server_connections",
        ),
        (
            "[[pools]]\nname = \"a\"\ndatabase = \"d\"\nusers = [\"x\", \"y\"]\nmin_pool_size = 11",
            "pools.a.min_pool_size: must not be more than max_server_connections together with the pools before",
        ),
        (
            "[[pools]]\nname = \"a\"\n[[pools]]\nname = \"a\"",
            "pools.a.name: must be different from the other pools' names",
        ),
    ] {
        assert_eq!(refusal(text), told);
    }
}

#[test]
fn minimums_of_pools_that_a_rule_before_covers_count_once() {
    let rule = |name: &str, users: &str| {
        format!("[[pools]]\nname = '{name}'\ndatabase = 'd'\nusers = [{users}]\nmin_pool_size = 10\n")
    };
    let document = Document::parse(&(rule("a", "'x'") + &rule("b", "'x', 'y'"))).unwrap();
    assert_eq!((document.pools[1].min_pool_size, document.pools[1].weight), (Some(10), 100));
}

#[test]
fn several_hosts_have_the_port_of_the_target_unless_they_have_their_own() {
    let document = Document::parse(
        "[target]\nport = 6000\nhosts = [\"pg-0.pg:5433\", \"pg-1.pg\", \"[fd00::1]\", \"[::1]:1\", \"10.0.0.1:65535\"]\n\
         role = \"primary\"\n",
    )
    .unwrap();
    let places = [("pg-0.pg", 5433), ("pg-1.pg", 6000), ("fd00::1", 6000), ("::1", 1), ("10.0.0.1", 65535)];
    assert_eq!(document.target.places().collect::<Vec<_>>(), places);
    assert_eq!(
        document.target.to_string(),
        "pg-0.pg:5433, pg-1.pg:6000, [fd00::1]:6000, [::1]:1, 10.0.0.1:65535"
    );
    assert_eq!(document.target.role, TargetRole::Primary);
}

#[test]
fn what_is_no_host_is_refused_with_its_place() {
    for (host, fault) in [
        ("", "a host must not be empty"),
        (":5432", "a host must not be empty"),
        ("a:", "a port must be 1 to 65535"),
        ("a:0", "a port must be 1 to 65535"),
        ("a:65536", "a port must be 1 to 65535"),
        ("a:x", "a port must be 1 to 65535"),
        ("a,b", "a host must have no `,`"),
        ("a b", "a host must have no ` `"),
        ("/tmp", "a host must have no `/`"),
        ("fd00::1", "an IPv6 address must be in brackets"),
        ("[fd00::1", "an IPv6 address must be in brackets"),
        ("[fd00::1]5432", "an IPv6 address must be in brackets"),
        ("[db]:5432", "an IPv6 address must be in brackets"),
    ] {
        let told = refusal(&format!("[target]\nhosts = [\"{host}\"]\n"));
        assert!(told.starts_with("line 2, column "), "{told}");
        assert!(told.contains(fault), "{host}: {told}");
    }
    assert!(refusal("[target]\nrole = \"Primary\"").contains("unknown variant `Primary`"));
}

#[test]
fn a_role_admits_what_it_says() {
    for (role, standby, primary) in [
        (TargetRole::Any, true, true),
        (TargetRole::Primary, false, true),
        (TargetRole::Standby, true, false),
    ] {
        assert_eq!((role.admits(true), role.admits(false)), (standby, primary), "{role}");
    }
}

#[test]
fn peers_that_cannot_be_told_apart_are_refused() {
    for (text, told) in [
        ("peer_id = 1", "peer_secret_file: must be set for a process with peers"),
        ("peers_dns = \"all\"", "peer_secret_file: must be set for a process with peers"),
        (
            "peer_id = 1\npeers_dns = \"all\"\npeer_secret_file = \"s\"",
            "peer_id: has no meaning with peers_dns: peers are told apart by address",
        ),
        (
            "peers_dns = \"all\"\npeer_secret_file = \"s\"\n[[peers]]\npeer_id = 2\nhost = \"b\"",
            "peers: must be empty with peers_dns",
        ),
        ("[[peers]]\npeer_id = 2\nhost = \"b\"", "peer_id: must be at least 1 for a process with peers"),
        (
            "peer_id = 1\npeer_secret_file = \"s\"\n[[peers]]\npeer_id = 0\nhost = \"b\"",
            "peers.0.peer_id: must be at least 1",
        ),
        (
            "peer_id = 1\npeer_secret_file = \"s\"\n[[peers]]\npeer_id = 2\nhost = \"b\"\nport = 0",
            "peers.2.port: must be 1 to 65535",
        ),
        (
            "peer_id = 1\npeer_secret_file = \"s\"\n[[peers]]\npeer_id = 2\nhost = \"b\"\n[[peers]]\npeer_id = 2\nhost = \"c\"",
            "peers.2.peer_id: must be different from the other peers' ids",
        ),
    ] {
        assert_eq!(refusal(text), told);
    }
}

#[test]
fn the_first_rule_that_matches_wins() {
    let document = Document::parse(
        "[[pools]]\nname = \"reports\"\ndatabase = \"shop\"\nusers = [\"ann\", \"bob\"]\n\
         [[pools]]\nname = \"shop\"\ndatabase = \"shop\"\n",
    )
    .unwrap();
    let name = |database, user| document.rule_for(database, user).map(|rule| rule.name.as_str());
    assert_eq!(name("shop", "bob"), Some("reports"));
    assert_eq!(name("shop", "eve"), Some("shop"));
    assert_eq!(name("other", "bob"), None);
}

#[test]
fn what_has_its_default_is_not_written() {
    assert_eq!(Document::default().to_toml(), "");
    let target = Target { host: "db".into(), ..Target::default() };
    let document = Document { max_client_conn: 7, paused: true, target, ..Document::default() };
    assert_eq!(document.to_toml(), "max_client_conn = 7\npaused = true\n\n[target]\nhost = \"db\"\n");
}

#[test]
fn what_needs_a_restart_is_told_from_the_rest() {
    let document = Document::parse("listen_port = 7000\nmax_client_conn = 7\nworkers = 0").unwrap();
    assert_eq!(document.restart_only(), Document { listen_port: 7000, ..Document::default() }.restart_only());
    assert_ne!(document.restart_only(), Document::default().restart_only());
}

#[test]
fn every_file_that_is_used_is_named() {
    let document = Document::default();
    let settings: Vec<_> = document.to_table().keys().filter(|key| key.ends_with("_file")).cloned().collect();
    assert_eq!(settings, ["auth_file", "peer_secret_file"], "those that are unset are not there");
    assert_eq!(document.files(), [("auth_file", Path::new("userlist.txt"))]);
    let mut text = String::from("client_tls_sslmode = 'verify-ca'\nserver_tls_sslmode = 'verify-ca'\n");
    let names = [
        "auth_file",
        "peer_secret_file",
        "client_tls_cert_file",
        "client_tls_key_file",
        "client_tls_ca_file",
        "server_tls_cert_file",
        "server_tls_key_file",
        "server_tls_ca_file",
        "internal_tls_ca_file",
        "internal_tls_cert_file",
        "internal_tls_key_file",
    ];
    for name in names {
        text = format!("{text}{name} = 'f/{name}'\n");
    }
    let document = Document::parse(&text).unwrap();
    let expected: BTreeSet<_> = names.into_iter().map(|name| (name, format!("f/{name}"))).collect();
    let files = document.files().into_iter().map(|(name, path)| (name, path.display().to_string()));
    assert_eq!(files.collect::<BTreeSet<_>>(), expected);
    let all = document.to_table();
    assert_eq!(all.keys().filter(|key| key.ends_with("_file")).count(), names.len(), "a file is forgotten");
    let off = Document {
        client_tls_sslmode: TlsMode::Disable,
        server_tls_ca_file: Some(SYSTEM.into()),
        ..document
    };
    assert!(
        off.files().iter().all(|(name, _)| !name.starts_with("client_tls") && *name != "server_tls_ca_file")
    );
}

#[test]
fn the_name_of_the_peers_has_a_port_or_takes_the_listening_one() {
    let name = |peers_dns: &str| Document { peers_dns: peers_dns.into(), ..Document::default() };
    assert_eq!(name("").peers_name(), None);
    assert_eq!(name("orders-peers").peers_name(), Some(("orders-peers", 6432)));
    assert_eq!(name("orders-peers:7000").peers_name(), Some(("orders-peers", 7000)));
    assert_eq!(name("fd00::1").peers_name(), Some(("fd00::1", 6432)));
}

fn seconds() -> impl Strategy<Value = Seconds> {
    prop_oneof![
        (0u64..200_000).prop_map(Seconds::from_secs),
        (1u64..5_000_000_000)
            .prop_map(|micros| { Seconds::try_from(std::time::Duration::from_micros(micros)).unwrap() })
    ]
}

fn rule(index: usize) -> impl Strategy<Value = PoolRule> {
    let users = prop_oneof![Just(vec![ANY.to_owned()]), prop::collection::vec("[a-z\" \\\\é]{1,8}", 1..4)];
    let mode = prop::option::of(prop_oneof![
        Just(PoolMode::Session),
        Just(PoolMode::Transaction),
        Just(PoolMode::Statement)
    ]);
    ("[a-z*\"\n]{1,8}", users, mode, prop::option::of(1u32..), prop::option::of(seconds())).prop_map(
        move |(database, users, pool_mode, pool_size, query_wait_timeout)| PoolRule {
            name: format!("pool {index}"),
            database,
            users,
            pool_mode,
            pool_size,
            pool_size_total: pool_size.map(|size| size / 2 + 1),
            min_pool_size: Some(0),
            min_pool_size_total: pool_size.map(|size| size / 2),
            weight: pool_size.map_or(1, |size| size % 1000 + 1),
            session_state: None,
            query_wait_timeout,
        },
    )
}

fn place() -> impl Strategy<Value = Place> {
    let host = prop_oneof![
        "[a-z0-9.-]{1,20}",
        any::<std::net::Ipv4Addr>().prop_map(|address| address.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|address| address.to_string()),
    ];
    (host, prop::option::of(1u16..)).prop_map(|(host, port)| Place { host, port })
}

fn target() -> impl Strategy<Value = Target> {
    let role = prop_oneof![Just(TargetRole::Any), Just(TargetRole::Primary), Just(TargetRole::Standby)];
    let one = "[^\0]{1,20}".prop_map(|host| (host, Vec::new()));
    let hosts = prop::collection::btree_map("[a-z.]{1,9}|::[1-9]", prop::option::of(1u16..), 1..4);
    let several = hosts.prop_map(|hosts| {
        let hosts = hosts.into_iter().map(|(host, port)| Place { host, port }).collect();
        (Target::default().host, hosts)
    });
    (prop_oneof![one, several], 1u16.., role).prop_map(|((host, hosts), port, role)| Target {
        host,
        port,
        hosts,
        role,
    })
}

prop_compose! {
    fn document()(
        ports in (1u16..30_000, 30_000u16..),
        counts in (1u32.., 1u32.., 0u32..),
        (query_wait_timeout, drain_timeout) in (seconds(), seconds()),
        target in target(),
        admin_users in prop::collection::vec(".{0,10}", 0..3),
        pools in (0usize..4).prop_flat_map(|count| (0..count).map(rule).collect::<Vec<_>>()),
    ) -> Document {
        Document {
            listen_port: ports.0,
            http_port: ports.1,
            max_client_conn: counts.0,
            max_server_connections: counts.1,
            max_prepared_statements: counts.2,
            query_wait_timeout,
            drain_timeout,
            admin_users,
            log_format: LogFormat::Json,
            client_tls_sslmode: TlsMode::VerifyFull,
            client_tls_cert_file: Some("tls.crt".into()),
            client_tls_key_file: Some("/etc/tls.key".into()),
            client_tls_ca_file: Some("ca.crt".into()),
            server_tls_sslmode: TlsMode::VerifyCa,
            server_tls_ca_file: Some(SYSTEM.into()),
            target,
            server_hold_timeout: drain_timeout,
            pools,
            ..Document::default()
        }
    }
}

proptest! {
    #[test]
    fn a_written_document_is_read_back_the_same(document in document()) {
        prop_assert_eq!(Document::parse(&document.to_toml()), Ok(document));
    }

    #[test]
    fn a_written_host_is_read_back_the_same(place in place()) {
        prop_assert_eq!(place.to_string().parse(), Ok(place));
    }

    #[test]
    fn no_text_makes_the_parser_of_hosts_panic(text in ".{0,40}|[\\[\\]:0-9a]{0,9}") {
        let _ = text.parse::<Place>();
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,200}") {
        let _ = Document::parse(&text);
        let _ = Userlist::parse(&text);
    }

    #[test]
    fn a_written_user_list_is_read_back_the_same(
        users in prop::collection::btree_map("[^\n\0]{1,12}", "[^\n\0]{0,20}", 0..5)
    ) {
        let mut list = Userlist::default();
        for (user, secret) in users {
            list.insert(user, UserSecret::of(secret));
        }
        prop_assert_eq!(Userlist::parse(list.render().expose()), Ok(list));
    }
}
