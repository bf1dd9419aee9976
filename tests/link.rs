//! The operator's way to a pod's admin console, with a real pooler on the other side, on threads of this process.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use pgpooler::reload::Source;
use pgpooler_operator::link::{self, LinkError};
use pgpooler_test_support::{Authority, RawClient, free_port};
use tempfile::TempDir;
use tokio_postgres::SimpleQueryMessage;

const PASSWORD: &str = "correct horse";
const PATIENCE: Duration = Duration::from_secs(20);

/// A pooler whose console `pgpooler` may use; its target is nobody.
struct Pod {
    address: SocketAddr,
    authority: Authority,
    _folder: TempDir,
}

impl Pod {
    fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("a fleet").unwrap();
        authority.certify("pod", &["pgpooler.internal"]).unwrap().write(folder.path(), "internal").unwrap();
        fs::write(folder.path().join("ca.crt"), authority.pem()).unwrap();
        let port = free_port().unwrap();
        let document = format!(
            "listen_addr = '127.0.0.1'\nlisten_port = {port}\nhttp_port = 0\nworkers = 1\n\
             auth_file = 'userlist.txt'\nadmin_users = ['pgpooler']\n{more}\n[target]\nhost = '127.0.0.1'\nport = 1\n"
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
        Self { address: (Ipv4Addr::LOCALHOST, port).into(), authority, _folder: folder }
    }

    fn with_tls() -> Self {
        Self::start(
            "internal_tls_ca_file = 'ca.crt'\ninternal_tls_cert_file = 'internal.crt'\n\
             internal_tls_key_file = 'internal.key'",
        )
    }

    async fn refusal(&self, authority: &Authority, password: &str) -> LinkError {
        link::connect(self.address, authority.pem().as_bytes(), password).await.err().expect("no session")
    }
}

#[tokio::test]
async fn the_console_answers_commands() {
    let pod = Pod::with_tls();
    let (client, driver) =
        link::connect(pod.address, pod.authority.pem().as_bytes(), PASSWORD).await.expect("a session");
    let driving = tokio::spawn(driver.for_each(|_| async {}));
    let answer = client.simple_query("SHOW VERSION").await.unwrap();
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    assert!(row.is_some_and(|version| version.contains("pgpooler")), "{row:?}");
    drop(client);
    tokio::time::timeout(PATIENCE, driving).await.expect("the driver ends with the session").unwrap();
}

#[tokio::test]
async fn notifications_reach_whoever_drives_the_session() {
    let pod = Pod::with_tls();
    let (client, mut driver) =
        link::connect(pod.address, pod.authority.pem().as_bytes(), PASSWORD).await.expect("a session");
    let said = async {
        client.batch_execute("LISTEN budget").await.unwrap();
        std::future::pending::<()>().await;
    };
    let heard = tokio::select! {
        heard = tokio::time::timeout(PATIENCE, driver.next()) => heard.expect("a notification").unwrap().unwrap(),
        () = said => unreachable!(),
    };
    assert_eq!(heard.channel(), "budget");
    assert!(heard.payload().contains("phase="), "{}", heard.payload());
}

#[tokio::test]
async fn what_keeps_us_out_is_told_apart() {
    let pod = Pod::with_tls();
    let wrong = pod.refusal(&pod.authority, "wrong").await;
    assert!(matches!(wrong, LinkError::Authentication(..)), "{wrong:?}");
    let impostor = pod.refusal(&Authority::new("a fleet").unwrap(), PASSWORD).await;
    assert!(matches!(impostor, LinkError::Tls(..)), "{impostor:?}");
    let none = link::connect(pod.address, b"none", PASSWORD).await.err().expect("no session");
    assert!(matches!(none, LinkError::Authority(_)), "{none:?}");
    let free = (Ipv4Addr::LOCALHOST, free_port().unwrap()).into();
    let nobody =
        link::connect(free, pod.authority.pem().as_bytes(), PASSWORD).await.err().expect("no session");
    assert!(matches!(nobody, LinkError::Unreachable(..)), "{nobody:?}");
}

#[tokio::test]
async fn a_pod_without_the_tls_of_the_fleet_is_not_spoken_to() {
    let pod = Pod::start("");
    let plain = pod.refusal(&pod.authority, PASSWORD).await;
    assert!(matches!(plain, LinkError::Tls(..)), "{plain:?}");
}
