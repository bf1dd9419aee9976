//! The keeper of the budgets against real poolers, on threads of this process; the API server is a script.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::client::Body;
use kube::{Client, ResourceExt as _};
use pgpooler::reload::Source;
use pgpooler_config::{Bundle, Document};
use pgpooler_operator::api::PgPooler;
use pgpooler_operator::budget::{Budgets, alone};
use pgpooler_operator::link;
use pgpooler_operator::plan::push::Configuration;
use pgpooler_operator::plan::{self, Settings, Upgrade, facts};
use pgpooler_test_support::Authority;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_postgres::SimpleQueryMessage;

const PASSWORD: &str = "correct horse";
const PATIENCE: Duration = Duration::from_mins(1);
/// More than a fleet of this test's machine would bear as processes; set `PGPOOLER_TEST_PODS` for another number.
const PODS: u32 = 24;

/// Poolers that wait for their operator, each at an address of its own, on the port that all pods have.
struct Fleet {
    ca: String,
    pods: Vec<facts::PodFact>,
    folder: TempDir,
}

impl Fleet {
    fn start(test: u8, count: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("a fleet").unwrap();
        authority.certify("pod", &["pgpooler.internal"]).unwrap().write(folder.path(), "internal").unwrap();
        fs::write(folder.path().join("ca.crt"), authority.pem()).unwrap();
        fs::write(folder.path().join("userlist.txt"), format!("\"pgpooler\" \"{PASSWORD}\"\n")).unwrap();
        fs::write(folder.path().join("peers"), "a secret of the fleet").unwrap();
        // the fixed port is the pods'; what differs between runs that go on side by side is the network
        let network = (std::process::id() % 100) as u8 + 20 + 100 * test;
        let addresses: Vec<Ipv4Addr> = (0..count)
            .map(|number| Ipv4Addr::new(127, network, (number / 250) as u8, (number % 250) as u8 + 1))
            .collect();
        for address in &addresses {
            launch(folder.path(), *address);
        }
        let until = Instant::now() + PATIENCE;
        for address in &addresses {
            while TcpStream::connect(SocketAddr::from((*address, 6432))).is_err() {
                assert!(Instant::now() < until, "the pooler at {address} does not listen");
                thread::sleep(Duration::from_millis(20));
            }
        }
        let pods = addresses.iter().enumerate().map(|(number, address)| fact(number, *address)).collect();
        Self { ca: authority.pem().to_owned(), pods, folder }
    }

    /// What the pods have started with, but for `settings` and for files that are given.
    fn configuration(&self, settings: &str, files: &[(&str, &str)]) -> Configuration {
        let text = format!("{settings}\n{COMMON}");
        let document = Document::parse(&text).unwrap();
        let mut bundle = Bundle::new(text);
        for (_, path) in document.files() {
            bundle.insert(path, fs::read(self.folder.path().join(path)).unwrap());
        }
        for (path, content) in files {
            bundle.insert(Path::new(path), *content);
        }
        Configuration { hash: bundle.hash(&document), paused: document.paused, bundle }
    }

    /// A person on the console of a pod.
    async fn person(&self, pod: usize, command: &str) -> Vec<String> {
        let address = self.pods[pod].address.as_ref().unwrap().parse().unwrap();
        let address = SocketAddr::new(address, 6432);
        let (client, driver) = link::connect(address, self.ca.as_bytes(), PASSWORD).await.unwrap();
        tokio::spawn(driver.for_each(|_| std::future::ready(())));
        let rows =
            client.simple_query(command).await.unwrap().into_iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            });
        rows.flat_map(|row| {
            (0..row.len()).map(|n| row.get(n).unwrap_or_default().to_owned()).collect::<Vec<_>>()
        })
        .collect()
    }
}

/// The document of all pods.
const COMMON: &str = "http_port = 0\nworkers = 1\nauth_file = 'userlist.txt'\nadmin_users = ['pgpooler']\n\
                      internal_tls_ca_file = 'ca.crt'\ninternal_tls_cert_file = 'internal.crt'\n\
                      internal_tls_key_file = 'internal.key'\npeer_id = 1\npeer_secret_file = 'peers'\n\
                      [target]\nhost = '127.0.0.1'\nport = 1\n";

fn launch(folder: &Path, address: Ipv4Addr) {
    let document = format!("listen_addr = '{address}'\n{COMMON}");
    let path = folder.join(format!("{address}.toml"));
    fs::write(&path, document).unwrap();
    let source = Source::new(path);
    let loaded = source.load().unwrap();
    let allowance = pgpooler::Allowance::Floor { floor: 1, grace: PATIENCE * 10 };
    thread::spawn(move || pgpooler::run(source, loaded, allowance));
}

fn fact(number: usize, address: Ipv4Addr) -> facts::PodFact {
    facts::PodFact {
        name: format!("orders-{number:03}"),
        uid: format!("uid-{number}"),
        address: Some(address.to_string()),
        floor: 1,
        life: facts::Life::Ready,
        ..facts::PodFact::default()
    }
}

/// The API server, as far as writing budgets down goes.
fn api_server(object: Value) -> (Client, Arc<Mutex<Value>>) {
    let (service, mut handle) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
    let stored = Arc::new(Mutex::new(object));
    let shared = Arc::clone(&stored);
    tokio::spawn(async move {
        while let Some((request, respond)) = handle.next_request().await {
            if request.method() == http::Method::PATCH {
                let body = request.into_body().collect_bytes().await.unwrap();
                let patch: Value = serde_json::from_slice(&body).unwrap();
                shared.lock().unwrap()["status"]["ledger"] = patch["status"]["ledger"].clone();
            }
            let body = serde_json::to_vec(&*shared.lock().unwrap()).unwrap();
            respond.send_response(http::Response::new(Body::from(body)));
        }
    });
    (Client::new(service, "shop"), stored)
}

fn orders(replicas: usize) -> Value {
    json!({
        "apiVersion": "pgpooler.dev/v1alpha1", "kind": "PgPooler",
        "metadata": {"name": "orders", "namespace": "shop", "uid": "orders-uid", "resourceVersion": "1"},
        "spec": {"target": {"secretRef": {"name": "db"}}, "replicas": replicas, "maxReplicas": replicas},
        "status": {"target": {"address": "db:5432", "systemIdentifier": "7", "role": "Primary"}},
    })
}

fn seen(fleet: &Fleet, max_connections: u32) -> facts::Facts {
    let data = [("host", "db"), ("username", "app"), ("password", "secret"), ("dbname", "app")];
    let data = data.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into();
    facts::Facts {
        secret: facts::SecretFact::Found(data),
        server: facts::ServerFact::Seen(facts::Server {
            max_connections,
            superuser_reserved: 3,
            system_identifier: Some("7".to_owned()),
            ..facts::Server::default()
        }),
        admin_password: facts::Hidden(PASSWORD.to_owned()),
        internal_tls: facts::InternalTls { ca: fleet.ca.clone(), ..facts::InternalTls::default() },
        pods: fleet.pods.clone(),
        ..facts::Facts::default()
    }
}

/// What a reconciliation does with the budgets, until the account is as wanted.
async fn until(
    budgets: &Arc<Budgets>,
    object: &PgPooler,
    facts: &facts::Facts,
    is_so: impl Fn(&facts::Account) -> bool,
) -> facts::Account {
    let settings =
        Settings { pooler_image: "pgpooler".to_owned(), namespace: None, upgrade: Upgrade::default() };
    let mut last = None;
    let wait = async {
        loop {
            let mut facts = facts.clone();
            facts.sharing = budgets.sharing(object, &facts);
            let sum = plan::sum(object, &facts, &settings);
            last = budgets.account(object, &facts, sum.as_ref());
            if let Some(account) = last.clone().filter(|account| is_so(account)) {
                return account;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let account = timeout(PATIENCE, wait).await;
    account.unwrap_or_else(|_| panic!("it does not come to that: {last:?}"))
}

fn is_given_out(account: &facts::Account) -> bool {
    let limits = account.total(|pod| pod.limit);
    let all_have_some = account.pods.iter().all(|pod| pod.limit > 1);
    all_have_some && limits + account.aside == account.budget && account.charged() == limits
}

fn pods() -> u32 {
    std::env::var("PGPOOLER_TEST_PODS").ok().and_then(|text| text.parse().ok()).unwrap_or(PODS)
}

#[tokio::test]
async fn all_pods_are_told_at_once_shrink_with_the_server_and_follow_the_next_leader_alone() {
    let count = pods();
    let fleet = Fleet::start(0, count);
    let (client, stored) = api_server(orders(count as usize));
    let object = || serde_json::from_value::<PgPooler>(stored.lock().unwrap().clone()).unwrap();
    let first = Budgets::new(client.clone(), alone(), 1, 1);
    first.open(&[]);
    let keeping = tokio::spawn(Arc::clone(&first).keep());

    let (large, small) = (seen(&fleet, 10 * count), seen(&fleet, 6 * count));
    let began = Instant::now();
    let account = until(&first, &object(), &large, is_given_out).await;
    println!(
        "{count} pods met and told in {:?}: {} of {}",
        began.elapsed(),
        account.total(|pod| pod.limit),
        account.budget
    );
    let written = i64::from(account.budget);
    assert_eq!(object().status.unwrap().ledger.unwrap().committed, written, "written before it was used");

    let began = Instant::now();
    let smaller = |now: &facts::Account| is_given_out(now) && now.budget < account.budget;
    let account = until(&first, &object(), &small, smaller).await;
    println!("{count} pods told to shrink in {:?}: to {}", began.elapsed(), account.total(|pod| pod.limit));

    // the next leader finds what the first one has given, and the first one finds out that it leads no more
    let before = object();
    let second = Budgets::new(client, alone(), 2, 1);
    second.open(&[(Arc::new(before.clone()), fleet.pods.clone())]);
    let keeping_too = tokio::spawn(Arc::clone(&second).keep());
    let began = Instant::now();
    let after = until(&second, &before, &small, |now| now.pods.iter().all(|pod| pod.limit > 0)).await;
    println!("{count} pods claimed by the next leader in {:?}", began.elapsed());
    assert_eq!(after.total(|pod| pod.limit), account.total(|pod| pod.limit), "{}", before.name_any());
    let wider = seen(&fleet, 10 * count);
    let said = timeout(PATIENCE, async {
        tokio::select! {
            epoch = first.superseded() => epoch,
            _ = until(&first, &before, &wider, |_| false) => 0,
        }
    });
    assert_eq!(said.await.expect("a pod says whom it follows"), 2);
    keeping.abort();
    keeping_too.abort();
}

/// Every pod runs it, and has said so.
fn all_run(wanted: &Configuration) -> impl Fn(&facts::Account) -> bool {
    let hash = wanted.hash.clone();
    move |account| {
        let runs = |pod: &facts::PodAccount| pod.configured.hash.as_ref() == Some(&hash);
        !account.pods.is_empty() && account.pods.iter().all(runs)
    }
}

#[tokio::test]
async fn a_configuration_is_pushed_to_every_pod_and_acknowledged_and_what_is_refused_changes_nothing() {
    let fleet = Fleet::start(1, 3);
    let (client, stored) = api_server(orders(3));
    let object: PgPooler = serde_json::from_value(stored.lock().unwrap().clone()).unwrap();
    let first = Budgets::new(client.clone(), alone(), 1, 1);
    first.open(&[]);
    let keeping = tokio::spawn(Arc::clone(&first).keep());
    let facts = seen(&fleet, 30);
    let has_said = |account: &facts::Account| {
        account.pods.len() == 3 && account.pods.iter().all(|pod| pod.configured.hash.is_some())
    };
    until(&first, &object, &facts, has_said).await;

    let users = format!("\"pgpooler\" \"{PASSWORD}\"\n\"app\" \"hunter2\"\n");
    let one = fleet.configuration("query_wait_timeout = 7", &[("userlist.txt", &users)]);
    let began = Instant::now();
    first.configure(&object, &one);
    let account = until(&first, &object, &facts, all_run(&one)).await;
    println!("3 pods configured in {:?}", began.elapsed());
    let waits = &account.pods[0].configured.needs_restart;
    assert_eq!(waits.as_slice(), ["listen_addr"], "the document of a fleet has none");
    let shown = fleet.person(2, "SHOW CONFIGURATION").await;
    assert_eq!(shown[..3], [one.hash.as_str(), "pushed", "no"]);
    assert!(fleet.person(2, "SHOW USERS").await.contains(&"app".to_owned()));

    // half a user list: nothing changes, and the pods say why, but not what
    let faulty = fleet.configuration("", &[("userlist.txt", "\"app\" \"hunter2")]);
    first.configure(&object, &faulty);
    let rejected =
        |account: &facts::Account| account.pods.iter().all(|pod| pod.configured.rejected.is_some());
    let account = until(&first, &object, &facts, rejected).await;
    assert!(all_run(&one)(&account));
    let told = account.pods[0].configured.rejected.clone().unwrap();
    assert!(told.contains("userlist.txt:1: ") && !told.contains("hunter2"), "{told}");

    let paused = fleet.configuration("paused = true", &[("userlist.txt", &users)]);
    first.configure(&object, &paused);
    let account = until(&first, &object, &facts, all_run(&paused)).await;
    assert!(account.pods.iter().all(|pod| pod.configured.rejected.is_none()));
    assert_eq!(fleet.person(0, "SHOW CONFIGURATION").await[2], "yes");

    // somebody has the files read again: what the operator wants comes back
    fleet.person(1, "RELOAD").await;
    let is_back = async { while fleet.person(1, "SHOW CONFIGURATION").await[1] != "pushed" {} };
    timeout(PATIENCE, is_back).await.expect("it is pushed again");

    // an operator that leads no more is not obeyed
    let second = Budgets::new(client, alone(), 2, 1);
    second.open(&[(Arc::new(object.clone()), fleet.pods.clone())]);
    let keeping_too = tokio::spawn(Arc::clone(&second).keep());
    second.configure(&object, &one);
    let know = |account: &facts::Account| account.pods.iter().all(|pod| pod.limit > 0);
    until(&second, &object, &facts, know).await;
    second.configure(&object, &one);
    until(&second, &object, &facts, all_run(&one)).await;
    first.configure(&object, &fleet.configuration("max_client_conn = 3", &[]));
    assert_eq!(timeout(PATIENCE, first.superseded()).await.expect("the pods say so"), 2);
    assert!(all_run(&one)(&until(&second, &object, &facts, |_| true).await));
    keeping.abort();
    keeping_too.abort();
}
