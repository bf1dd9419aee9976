//! `CONFIGURE`: a configuration that is pushed is in force at once, and nobody who is connected is lost.

use std::fs;
use std::path::Path;

use pgpooler_config::{Bundle, Document};
use pgpooler_test_support::{Authority, Pooler, RawClient, TlsOptions};

use crate::{app, app_login, options, server, sqlstate, start, value};

const SECRET: &str = "a secret of more than sixteen bytes";

/// A pooler whose document names files that are pushed with it.
struct Pushed {
    pooler: Pooler,
    console: RawClient,
    document: Document,
    files: Vec<(&'static str, String)>,
    _folder: tempfile::TempDir,
}

impl Pushed {
    fn start() -> Self {
        let users = r#""postgres" "postgres"
"app" "app"
"#;
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("peers");
        fs::write(&secret, SECRET).unwrap();
        let pooler = start(
            &options(2)
                .setting("peer_id", "1")
                .setting("peer_secret_file", &format!("{:?}", secret.display().to_string())),
        );
        let console = RawClient::login(&pooler.login("postgres", "postgres", "pgpooler")).unwrap();
        let text = fs::read_to_string(pooler.config_path()).unwrap();
        let document = Document { peer_secret_file: "peers".into(), ..Document::parse(&text).unwrap() };
        let files = vec![("userlist.txt", users.to_owned()), ("peers", SECRET.to_owned())];
        Self { pooler, console, document, files, _folder: folder }
    }

    fn bundle(&self) -> Bundle {
        let mut bundle = Bundle::new(self.document.to_toml());
        for (path, content) in &self.files {
            bundle.insert(Path::new(path), content.as_str());
        }
        bundle
    }

    fn command(&self) -> String {
        format!("CONFIGURE '{}'", self.bundle().to_text().replace('\'', "''"))
    }

    /// What changed.
    fn push(&mut self) -> String {
        let row = self.console.rows(&self.command()).unwrap().concat();
        assert_eq!(row[0], self.bundle().hash(&self.document));
        assert_eq!(
            self.shown(),
            [row[0].as_str(), "pushed", if self.document.paused { "yes" } else { "no" }]
        );
        row[1].clone()
    }

    fn shown(&mut self) -> [String; 3] {
        let row = self.console.rows("SHOW CONFIGURATION").unwrap().concat();
        [row[0].clone(), row[1].clone(), row[2].clone()]
    }

    fn file(&mut self, path: &'static str, content: String) {
        self.files.retain(|(known, _)| *known != path);
        self.files.push((path, content));
    }
}

#[test]
fn limits_timeouts_and_users_change_under_clients_that_go_on() {
    let mut pushed = Pushed::start();
    pushed.push();
    let (mut idle, mut busy) = (app(&pushed.pooler), app(&pushed.pooler));
    idle.query("SELECT 1").unwrap();
    busy.query("BEGIN").unwrap();

    pushed.document.query_wait_timeout = pgpooler_config::Seconds::from_secs(1);
    pushed.document.pools = Document::parse("[[pools]]\nname = 'all'\npool_size = 1\n").unwrap().pools;
    assert_eq!(pushed.push(), "pools,query_wait_timeout");
    // the pool has one connection now, which is in use: whoever comes waits, no longer than a second
    let refused = idle.query("SELECT 2").unwrap();
    assert_eq!(sqlstate(&refused).as_deref(), Some("53400"), "{refused:?}");
    assert_eq!(value(&mut busy, "SELECT 3"), "3");
    busy.query("COMMIT").unwrap();

    let users = "\"postgres\" \"postgres\"\n\"app\" \"new\"\n\"other\" \"other\"\n";
    pushed.file("userlist.txt", users.to_owned());
    assert_eq!(pushed.push(), "auth_file");
    assert!(RawClient::login(&app_login(&pushed.pooler)).is_err(), "the old password");
    let mut other = RawClient::login(&pushed.pooler.login("other", "other", "postgres")).unwrap();
    assert_eq!(value(&mut other, "SELECT 4"), "4");
    // a login with the new one is let in; PostgreSQL itself has it from now on
    server().sql("CREATE ROLE pushed LOGIN PASSWORD 'old'").unwrap();
    pushed.file("userlist.txt", format!("{users}\"pushed\" \"old\"\n"));
    pushed.push();
    let login = |password| pushed.pooler.login("pushed", password, "postgres");
    let mut before = RawClient::login(&login("old")).unwrap();
    assert_eq!(value(&mut before, "SELECT 5"), "5");
    server().sql("ALTER ROLE pushed PASSWORD 'new'").unwrap();
    let new = login("new");
    pushed.file("userlist.txt", format!("{users}\"pushed\" \"new\"\n"));
    pushed.push();
    assert_eq!(value(&mut RawClient::login(&new).unwrap(), "SELECT 6"), "6");
    assert_eq!(value(&mut before, "SELECT 7"), "7", "who was there goes on");
    drop((before, new));
    drop(pushed);
    server().sql("DROP ROLE pushed").unwrap();
}

#[test]
fn certificates_change_under_clients_that_go_on() {
    let mut pushed = Pushed::start();
    let authority = Authority::new("authority").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let pair = |name: &str| {
        let (certificate, key) =
            authority.certify(name, &["localhost"]).unwrap().write(folder.path(), name).unwrap();
        (fs::read_to_string(certificate).unwrap(), fs::read_to_string(key).unwrap())
    };
    let put = |pushed: &mut Pushed, (certificate, key): (String, String)| {
        pushed.file("tls.crt", certificate);
        pushed.file("tls.key", key);
    };
    pushed.document.client_tls_sslmode = pgpooler_config::TlsMode::Prefer;
    pushed.document.client_tls_cert_file = Some("tls.crt".into());
    pushed.document.client_tls_key_file = Some("tls.key".into());
    put(&mut pushed, pair("one"));
    let mut plain = app(&pushed.pooler);
    pushed.push();
    let secure = app_login(&pushed.pooler).secure(TlsOptions::default());
    let mut first = RawClient::login(&secure).unwrap();
    put(&mut pushed, pair("two"));
    assert_eq!(pushed.push(), "client_tls_cert_file,client_tls_key_file");
    let second = RawClient::login(&secure).unwrap();
    assert_ne!(first.server_certificate(), second.server_certificate());
    assert_eq!((value(&mut first, "SELECT 1"), value(&mut plain, "SELECT 1")), ("1".into(), "1".into()));

    // the key of another certificate
    let (certificate, _) = pair("three");
    pushed.file("tls.crt", certificate);
    let told = pushed.console.query(&pushed.command()).unwrap();
    assert_eq!(sqlstate(&told).as_deref(), Some("F0000"), "{told:?}");
    let third = RawClient::login(&secure).unwrap();
    assert_eq!(second.server_certificate(), third.server_certificate());
}

#[test]
fn a_faulty_configuration_is_refused_without_a_secret_and_the_old_one_stays() {
    let mut pushed = Pushed::start();
    pushed.push();
    let before = pushed.shown();
    let mut client = app(&pushed.pooler);
    pushed.file("userlist.txt", "\"app\" \"hunter2".to_owned());
    let told = pushed.console.query(&pushed.command()).unwrap();
    assert_eq!(sqlstate(&told).as_deref(), Some("F0000"));
    let message = told.iter().find_map(|message| message.field(b'M')).unwrap();
    assert!(message.contains("userlist.txt:1: ") && !message.contains("hunter2"), "{message}");
    assert_eq!(pushed.shown(), before);
    assert_eq!(value(&mut client, "SELECT 1"), "1");
    assert!(!pushed.pooler.log().contains("hunter2") && !pushed.pooler.log().contains(SECRET));
    // the files are there all the while
    pushed.console.query("RELOAD").unwrap();
    assert_eq!(pushed.shown()[1], "files");
    assert_eq!(value(&mut client, "SELECT 1"), "1");
}

#[test]
fn an_operator_that_another_has_followed_is_not_heard() {
    let mut pushed = Pushed::start();
    pushed.console.query("CLAIM EPOCH 7").unwrap();
    let with = |pushed: &Pushed, epoch: u32| format!("{} EPOCH {epoch}", pushed.command());
    let command = with(&pushed, 6);
    assert_eq!(sqlstate(&pushed.console.query(&command).unwrap()).as_deref(), Some("55000"));
    assert_eq!(pushed.shown()[1], "files");
    let command = with(&pushed, 7);
    assert_eq!(sqlstate(&pushed.console.query(&command).unwrap()), None);
    assert_eq!(pushed.shown()[1], "pushed");
}

#[test]
fn a_pause_in_the_document_holds_clients_and_its_end_lets_them_go_on() {
    let mut pushed = Pushed::start();
    pushed.push();
    let (mut waiting, mut busy) = (app(&pushed.pooler), app(&pushed.pooler));
    busy.query("BEGIN").unwrap();
    pushed.document.paused = true;
    assert_eq!(pushed.push(), "paused");
    waiting.send(&pgpooler_test_support::wire::query("SELECT 1")).unwrap();
    assert_eq!(value(&mut busy, "SELECT 2"), "2", "a transaction is finished");
    busy.query("COMMIT").unwrap();
    let mut newcomer = RawClient::login(&app_login(&pushed.pooler)).expect("who comes is let in");
    assert_eq!(pushed.pooler.http_get("/readyz").unwrap().0, 200);
    assert_eq!(waiting.read_within(std::time::Duration::from_millis(300)).unwrap(), None);
    let held =
        |pushed: &mut Pushed| value(&mut pushed.console, "SHOW STATE").contains("server_connections_held0");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !held(&mut pushed) {
        assert!(std::time::Instant::now() < until, "connections are closed");
    }
    assert_eq!(sqlstate(&pushed.console.query("RESUME").unwrap()).as_deref(), Some("55000"));
    // what does not speak of it changes nothing of it
    pushed.document.max_client_conn = 77;
    assert_eq!(pushed.push(), "max_client_conn");
    assert_eq!(waiting.read_within(std::time::Duration::from_millis(300)).unwrap(), None);
    pushed.document.paused = false;
    assert_eq!(pushed.push(), "paused");
    assert_eq!(
        waiting.read_through(b'Z').unwrap().iter().map(|m| char::from(m.tag)).collect::<String>(),
        "TDCZ"
    );
    assert_eq!(value(&mut newcomer, "SELECT 3"), "3");
}
