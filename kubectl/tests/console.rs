//! The way to a pod's console and what is read there, with a real pooler on the other side.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use std::{fs, thread};

use kubectl_pgpooler::console::{Console, ConsoleError, Keys};
use kubectl_pgpooler::live;
use pgpooler::reload::Source;
use pgpooler_test_support::{Authority, RawClient, free_port};
use tokio::net::TcpStream;

const PASSWORD: &str = "correct horse";
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_pod_says_what_it_is_doing() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("a fleet").unwrap();
    authority.certify("pod", &["pgpooler.internal"]).unwrap().write(folder.path(), "internal").unwrap();
    fs::write(folder.path().join("ca.crt"), authority.pem()).unwrap();
    let port = free_port().unwrap();
    let document = format!(
        "listen_addr = '127.0.0.1'\nlisten_port = {port}\nhttp_port = 0\nworkers = 1\nauth_file = 'userlist.txt'\n\
         admin_users = ['pgpooler']\nmax_server_connections = 7\ninternal_tls_ca_file = 'ca.crt'\n\
         internal_tls_cert_file = 'internal.crt'\ninternal_tls_key_file = 'internal.key'\n[target]\nhost = '127.0.0.1'\nport = 1\n"
    );
    fs::write(folder.path().join("pgpooler.toml"), document).unwrap();
    fs::write(folder.path().join("userlist.txt"), format!("\"pgpooler\" \"{PASSWORD}\"\n")).unwrap();
    let source = Source::new(folder.path().join("pgpooler.toml"));
    let loaded = source.load().unwrap();
    thread::spawn(move || pgpooler::run(source, loaded, pgpooler::Allowance::Document));
    let until = Instant::now() + PATIENCE;
    while RawClient::connect(port).is_err() {
        assert!(Instant::now() < until, "the pooler does not listen");
        thread::sleep(Duration::from_millis(20));
    }

    let stream = || TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    let keys = Keys::new(authority.pem().as_bytes().to_vec(), PASSWORD.to_owned());
    let console = Console::over(stream().await.unwrap(), "the pod", &keys).await.expect("a session");
    let figures = live::ask(&console).await.expect("figures");
    assert_eq!((figures.phase.as_str(), figures.limit, figures.held), ("standalone", 7, 0));
    assert!(figures.config_hash.is_some_and(|hash| hash.len() > 8), "the pod says what it runs");
    assert!(!figures.paused);
    console.rows("PAUSE").await.expect("paused");
    assert!(live::ask(&console).await.expect("figures").paused);
    let refused = console.rows("SHOW NOTHING").await.unwrap_err();
    assert!(matches!(refused, ConsoleError::Query("SHOW NOTHING", _)), "{refused:?}");

    let keys = Keys::new(authority.pem().as_bytes().to_vec(), "wrong".to_owned());
    let refused = Console::over(stream().await.unwrap(), "the pod", &keys).await.err().expect("no session");
    assert_eq!(refused.to_string(), "the pod refuses the login");
}
