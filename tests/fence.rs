//! The fence against a real PostgreSQL; the API server is a fake one that notes what it is asked.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod fixtures;

use std::pin::pin;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::ResourceExt as _;
use kube::client::Body;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher;
use pgpooler_operator::api::{FenceStatus, PgPooler, PgPoolerStatus, Reason};
use pgpooler_operator::fence::{FenceError, Fences, Memory};
use pgpooler_operator::names;
use pgpooler_operator::observe::postgres::Sessions;
use pgpooler_operator::observe::target_from_here;
use pgpooler_operator::plan::conditions::{self, Seen};
use pgpooler_operator::plan::facts::Facts;
use pgpooler_operator::plan::fence::helper;
use pgpooler_operator::plan::plan;
use pgpooler_operator::plan::target::Target;
use pgpooler_operator::status::StatusWriter;
use pgpooler_test_support::{Postgres, PostgresOptions};
use serde_json::{Value, json};

use fixtures::{applied, applied_objects, facts, pooler_with, secret, settings};

/// What the API server was asked, and whether it takes statuses.
#[derive(Clone, Default)]
struct Asked {
    requests: Arc<Mutex<Vec<(String, Value)>>>,
    broken: Arc<Mutex<bool>>,
}

impl Asked {
    fn serve(&self) -> Client {
        let (service, handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let asked = self.clone();
        tokio::spawn(async move {
            let mut handle = pin!(handle);
            while let Some((request, respond)) = handle.next_request().await {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                let path = parts.uri.path();
                let code = if *asked.broken.lock().unwrap() && path.ends_with("/status") { 500 } else { 200 };
                let mut answer = body.clone();
                if path.ends_with("/status") {
                    answer["spec"] = json!({"target": {"secretRef": {"name": "orders-db"}}});
                }
                asked.requests.lock().unwrap().push((format!("{} {path}", parts.method), body));
                let answer = Body::from(serde_json::to_vec(&answer).unwrap());
                respond.send_response(Response::builder().status(code).body(answer).unwrap());
            }
        });
        Client::new(service, "default")
    }

    fn take(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

/// A server with the role `app`, and an operator before it.
struct World {
    server: Postgres,
    asked: Asked,
    client: Client,
    sessions: Sessions,
    status: StatusWriter,
    memory: Memory,
    poolers: Store<PgPooler>,
    writer: Writer<PgPooler>,
}

impl World {
    fn new() -> Self {
        let server = Postgres::start(&PostgresOptions::default()).unwrap();
        server.create_user("app", "app").unwrap();
        let asked = Asked::default();
        let client = asked.serve();
        let (poolers, writer) = reflector::store();
        Self {
            server,
            asked,
            status: StatusWriter::new(client.clone(), None),
            client,
            sessions: Sessions::default(),
            memory: Memory::default(),
            poolers,
            writer,
        }
    }

    /// One whose role may set its limit.
    fn granted() -> Self {
        let world = Self::new();
        world.grant();
        world
    }

    fn grant(&self) {
        self.server.sql(&helper("app")).unwrap();
    }

    fn fences(&self) -> Fences<'_> {
        Fences {
            client: &self.client,
            poolers: &self.poolers,
            sessions: &self.sessions,
            status: &self.status,
            memory: &self.memory,
        }
    }

    fn limit(&self) -> String {
        self.server.sql("SELECT rolconnlimit FROM pg_roles WHERE rolname = 'app'").unwrap().concat().concat()
    }

    fn secret(&self) -> Facts {
        let port = self.server.port().to_string();
        let pairs = [("username", "app"), ("password", "app"), ("host", "127.0.0.1"), ("dbname", "postgres")];
        Facts { secret: secret(&[&pairs[..], &[("port", port.as_str())]].concat()), ..facts() }
    }

    fn target(&self, object: &PgPooler) -> Target {
        target_from_here(object, &self.secret().secret, &self.secret().references).unwrap()
    }

    /// What a reconciliation does, but for the children.
    async fn reconcile(&mut self, object: &PgPooler) -> Result<PgPooler, FenceError> {
        let object = self.status.latest(object).await;
        let server = self.sessions.observe(&self.target(&object), &ObjectRef::from_obj(&object)).await;
        let mut facts = Facts { server, ..self.secret() };
        let (mut object, _) = self.fences().sum(object, &mut facts, &settings()).await?;
        let plan = plan(&object, &facts, &settings());
        let children = applied_objects(&applied(&plan, &facts.children));
        let seen = Seen { object: &object, facts: &facts, verdict: &plan.verdict, applied: Ok(&children) };
        let status = conditions::status(seen, &Time("2026-01-02T03:04:05Z".parse().unwrap()));
        self.status.write(&object, status.clone()).await?;
        object.status = Some(status);
        self.seen(&object);
        Ok(object)
    }

    /// The cache sees it.
    fn seen(&mut self, object: &PgPooler) {
        self.writer.apply_watcher_event(&watcher::Event::Apply(object.clone()));
    }

    /// `object` as somebody has just deleted it.
    fn deleted(&mut self, object: &PgPooler) -> PgPooler {
        let mut object = object.clone();
        object.metadata.deletion_timestamp = Some(Time(now()));
        object.metadata.finalizers = Some(vec![names::FENCE.to_owned()]);
        self.seen(&object);
        object
    }

    async fn end(&self, object: &PgPooler, after: i64) -> bool {
        let target = Some(self.target(object));
        self.fences().end(object, target, now() + SignedDuration::from_secs(after)).await.unwrap()
    }
}

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn managed(connections: u32) -> PgPooler {
    with("Manage", connections)
}

fn with(fence: &str, connections: u32) -> PgPooler {
    pooler_with(json!({"budget": {"serverConnections": connections, "fence": fence}, "maxReplicas": 2}))
}

/// The same in the next version of its spec.
fn changed(object: &PgPooler, to: &PgPooler) -> PgPooler {
    PgPooler { spec: to.spec.clone(), ..object.clone() }
}

fn named(name: &str, mut object: PgPooler) -> PgPooler {
    object.metadata.name = Some(name.to_owned());
    object.metadata.uid = Some(format!("uid-of-{name}"));
    object
}

fn status(object: &PgPooler) -> &PgPoolerStatus {
    object.status.as_ref().unwrap()
}

fn fence(object: &PgPooler) -> &FenceStatus {
    status(object).fence.as_ref().unwrap()
}

fn budget(object: &PgPooler) -> i32 {
    status(object).budget.as_ref().unwrap().budget
}

fn reason(object: &PgPooler) -> (&str, &str) {
    let condition = status(object).conditions.iter().find(|one| one.type_ == "Fenced").unwrap();
    (&condition.reason, &condition.message)
}

fn finalizers(requests: &[(String, Value)]) -> Vec<Value> {
    let path = "/pgpoolers/orders";
    let patches = requests.iter().filter(|(request, _)| request.ends_with(path));
    patches.map(|(_, body)| body["metadata"]["finalizers"].clone()).collect()
}

#[tokio::test]
async fn the_limit_follows_the_budget_and_is_put_back_when_it_is_not_managed_any_more() {
    let mut world = World::granted();
    let object = world.reconcile(&managed(40)).await.unwrap();
    assert_eq!((world.limit().as_str(), budget(&object)), ("41", 40));
    assert_eq!((fence(&object).original, reason(&object).0), (Some(-1), "FenceMatches"));
    assert_eq!(finalizers(&world.asked.take()), [json!([names::FENCE])]);

    let object = world.reconcile(&object).await.unwrap();
    assert_eq!(world.asked.take().len(), 0, "at rest nothing is written");
    assert_eq!(budget(&object), 40, "our own limit does not bound the budget");

    let object = world.reconcile(&changed(&object, &managed(60))).await.unwrap();
    assert_eq!((world.limit().as_str(), budget(&object)), ("61", 60));
    let object = world.reconcile(&changed(&object, &managed(20))).await.unwrap();
    assert_eq!((world.limit().as_str(), budget(&object)), ("61", 20), "pods may still have more");
    let object = world.reconcile(&object).await.unwrap();
    assert_eq!((world.limit().as_str(), budget(&object)), ("21", 20));

    world.server.sql("ALTER ROLE app CONNECTION LIMIT 5").unwrap();
    // as the next look at the server would find it
    world.sessions.role_limit_is(&world.target(&object), Some(5)).await;
    let object = world.reconcile(&object).await.unwrap();
    assert_eq!((world.limit().as_str(), budget(&object)), ("21", 20), "after somebody else's hand");

    world.asked.take();
    let object = world.reconcile(&changed(&object, &with("Verify", 20))).await.unwrap();
    assert_eq!((world.limit().as_str(), fence(&object).original), ("-1", None));
    assert_eq!(reason(&object).0, "FenceLoose");
    assert_eq!(finalizers(&world.asked.take()), [json!([])]);
}

#[tokio::test]
async fn a_limit_that_was_there_bounds_the_budget_and_comes_back_on_deletion() {
    let mut world = World::granted();
    world.server.sql("ALTER ROLE app CONNECTION LIMIT 31").unwrap();
    let object = world.reconcile(&managed(20)).await.unwrap();
    assert_eq!((world.limit().as_str(), fence(&object).original), ("21", Some(31)));
    let object = world.reconcile(&changed(&object, &managed(60))).await.unwrap();
    assert_eq!((world.limit().as_str(), budget(&object)), ("31", 30));
    let object = world.reconcile(&changed(&object, &managed(10))).await.unwrap();
    let object = world.reconcile(&object).await.unwrap();
    assert_eq!(world.limit(), "11");

    let gone = world.deleted(&object);
    world.asked.take();
    assert!(world.end(&gone, 1).await);
    assert_eq!(world.limit(), "31");
    assert_eq!(finalizers(&world.asked.take()), [json!([])]);
}

#[tokio::test]
async fn nothing_is_set_before_what_was_there_is_written_down() {
    let mut world = World::granted();
    *world.asked.broken.lock().unwrap() = true;
    assert!(matches!(world.reconcile(&managed(40)).await, Err(FenceError::Status(_))));
    assert_eq!(world.limit(), "-1");
    let asked: Vec<_> = world.asked.take().into_iter().map(|(request, _)| request).collect();
    let path = "PATCH /apis/pgpooler.dev/v1alpha1/namespaces/shop/pgpoolers/orders";
    assert_eq!(asked, [path.to_owned(), format!("{path}/status")], "the finalizer comes first");
    *world.asked.broken.lock().unwrap() = false;
    world.reconcile(&managed(40)).await.unwrap();
    assert_eq!(world.limit(), "41");
}

#[tokio::test]
async fn a_role_without_the_right_is_told_how_to_get_it_and_the_rest_goes_on() {
    let mut world = World::new();
    let object = world.reconcile(&managed(40)).await.unwrap();
    assert_eq!((world.limit().as_str(), budget(&object)), ("-1", 40));
    let (reason_, message) = reason(&object);
    assert_eq!(reason_, "FenceDenied");
    assert!(message.contains("GRANT EXECUTE") && message.contains("\"app\""), "{message}");
    assert!(message.len() < 1000, "it is shown in full");

    // a limit that cannot be raised bounds the budget
    world.server.sql("ALTER ROLE app CONNECTION LIMIT 26").unwrap();
    world.sessions.role_limit_is(&world.target(&object), Some(26)).await;
    let object = world.reconcile(&object).await.unwrap();
    assert_eq!((budget(&object), reason(&object).0), (25, "FenceDenied"));
    let object = world.reconcile(&object).await.unwrap();
    assert_eq!((budget(&object), reason(&object).0), (25, "FenceDenied"), "it does not go up and down");

    world.grant();
    // whatever was refused is tried again after a while; an operator that starts anew does at once
    world.memory = Memory::default();
    let object = world.reconcile(&object).await.unwrap();
    assert_eq!((world.limit().as_str(), budget(&object)), ("41", 40));
}

#[tokio::test]
async fn a_fence_that_was_refused_keeps_nobody_from_going() {
    let mut world = World::new();
    let object = world.reconcile(&managed(40)).await.unwrap();
    let gone = world.deleted(&object);
    assert!(world.end(&gone, 1).await, "nothing was changed");
    let back = world.reconcile(&changed(&object, &with("Off", 40))).await.unwrap();
    assert_eq!((fence(&back).original, reason(&back).0), (None, "FenceOff"));
}

#[tokio::test]
async fn a_function_that_anybody_could_have_made_is_not_called() {
    let mut world = World::new();
    world.server.sql("CREATE ROLE mallory LOGIN; GRANT CREATE ON DATABASE postgres TO mallory").unwrap();
    world.server.sql("GRANT CREATE ON SCHEMA public TO mallory").unwrap();
    let helper = helper("app");
    let (begin, rest) = helper.split_once("EXECUTE format").unwrap();
    let (_, end) = rest.split_once("; END").unwrap();
    let sql = format!("{begin}CREATE TABLE public.trap (); END{end}");
    world.server.sql(&format!("SET SESSION AUTHORIZATION mallory; {sql}")).unwrap();
    let object = world.reconcile(&managed(40)).await.unwrap();
    assert_eq!(reason(&object).0, "FenceDenied");
    assert_eq!(world.server.sql("SELECT to_regclass('public.trap')").unwrap().concat().concat(), "");
}

#[tokio::test]
async fn a_superuser_is_bound_by_no_limit_and_gets_none() {
    let mut world = World::new();
    world.server.sql("ALTER ROLE app SUPERUSER").unwrap();
    let object = world.reconcile(&managed(40)).await.unwrap();
    assert_eq!((world.limit().as_str(), budget(&object)), ("-1", 40));
    let (reason, message) = reason(&object);
    assert!(reason == "FenceLoose" && message.contains("superuser"), "{reason} {message}");
    assert_eq!(fence(&object).original, None);
}

#[tokio::test]
async fn a_server_that_is_away_keeps_a_deleted_one_for_two_minutes() {
    let mut world = World::granted();
    let object = world.reconcile(&managed(40)).await.unwrap();
    let gone = world.deleted(&object);
    world.server.crash().unwrap();
    world.asked.take();
    assert!(!world.end(&gone, 60).await);
    assert!(world.asked.take().is_empty());
    assert!(world.end(&gone, 121).await);
    let asked = world.asked.take();
    assert_eq!(finalizers(&asked), [json!([])]);
    let event = asked.iter().find(|(request, _)| request.ends_with("/events")).expect("an event");
    assert_eq!(event.1["reason"], Reason::FenceAbandoned.as_str());
    assert!(
        event.1["note"].as_str().unwrap().contains("ALTER ROLE \"app\" CONNECTION LIMIT -1"),
        "{event:?}"
    );
}

#[tokio::test]
async fn those_who_log_in_as_one_role_have_one_fence_and_the_last_puts_back_what_the_first_has_found() {
    let mut world = World::granted();
    let first = world.reconcile(&named("first", managed(20))).await.unwrap();
    let second = world.reconcile(&named("second", managed(30))).await.unwrap();
    assert_eq!(world.limit(), "52", "20 + 30 and a session for each");
    assert_eq!((fence(&second).original, budget(&second)), (Some(-1), 30));
    let first = world.reconcile(&first).await.unwrap();
    assert_eq!((world.limit().as_str(), budget(&first), fence(&first).wanted), ("52", 20, 52));

    let gone = world.deleted(&first);
    assert!(world.end(&gone, 1).await);
    assert_eq!(world.limit(), "52", "the other still needs it");
    world.writer.apply_watcher_event(&watcher::Event::Delete(gone));
    let second = world.reconcile(&second).await.unwrap();
    assert_eq!(world.limit(), "31");
    let gone = world.deleted(&second);
    assert!(world.end(&gone, 1).await);
    assert_eq!(world.limit(), "-1");
}

#[tokio::test]
async fn another_role_leaves_the_old_one_as_it_was() {
    let mut world = World::granted();
    let object = world.reconcile(&managed(20)).await.unwrap();
    assert_eq!(world.limit(), "21");
    // the status speaks of a role that is not the Secret's any more
    let mut strange = object.clone();
    strange.metadata.uid = Some("another".to_owned());
    let old = FenceStatus { role: "former".to_owned(), ..fence(&object).clone() };
    strange.status = Some(PgPoolerStatus { fence: Some(old), ..status(&object).clone() });
    world.writer.apply_watcher_event(&watcher::Event::Delete(object));
    world.asked.take();
    let object = world.reconcile(&strange).await.unwrap();
    assert_eq!((fence(&object).role.as_str(), fence(&object).original), ("app", Some(21)));
    let told = world.asked.take();
    let event = told.iter().find(|(request, _)| request.ends_with("/events")).expect("an event");
    assert_eq!(event.1["reason"], "FenceAbandoned");
    assert!(object.name_any() == "orders");
}
