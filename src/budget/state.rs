//! What is known of servers, `PgPoolers` and pods between events. Every event is a synchronous step.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;
use pgpooler_core::budget::{Command, Demand, Mark, Member, MemberId, PodId, Report};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::balance::Balance;
use super::groups::{Group, News, ServerKey};
use super::push::{Mind, Newest};
use super::talk::{Greeting, Spoken};
use crate::api::{BudgetMode, PgPooler};
use crate::plan::backends::Roles;
use crate::plan::budget::Sum;
use crate::plan::checks;
use crate::plan::facts::{Configured, Facts, Neighbour, PodFact, Reach, ServerFact};
use crate::plan::materials;

/// What is to be done outside.
pub(super) enum Order {
    /// Ask whether this operator leads.
    Confirm(ServerKey, Mark),
    /// Write a budget down.
    Commit(ServerKey, u32),
}

pub(super) struct State {
    epoch: u64,
    last_id: u64,
    pub(super) groups: BTreeMap<ServerKey, Group>,
    /// By uid.
    pub(super) poolers: HashMap<String, Pooler>,
    /// Uids of the `PgPoolers` on each server: there may be thousands on others.
    pub(super) on: HashMap<ServerKey, BTreeSet<String>>,
    /// By uid.
    pub(super) pods: HashMap<String, Pod>,
    /// Uids of pods.
    pub(super) uids: HashMap<PodId, String>,
    pub(super) changed: BTreeSet<String>,
    /// Servers whose budgets are being written down.
    pub(super) writing: BTreeSet<ServerKey>,
}

/// A `PgPooler`.
pub(super) struct Pooler {
    pub(super) key: ObjectRef<PgPooler>,
    pub(super) member: MemberId,
    pub(super) server: Option<ServerKey>,
    /// Uids of its pods.
    pub(super) pods: BTreeSet<String>,
    pub(super) neighbour: Neighbour,
    /// The budget that its status has.
    pub(super) committed: u32,
    ca: String,
    password: String,
    /// What its pods should run.
    pub(super) newest: Newest,
    /// Most connections that its clients needed at once.
    pub(super) peak: u32,
    /// Sessions of others on its server, when last seen.
    pub(super) foreign: Option<u32>,
    /// What its pods log in as.
    pub(super) roles: Roles,
    pub(super) usable: u32,
    pub(super) sight: Sight,
    /// When it was last looked at as a whole.
    pub(super) looked_at: Instant,
    /// Figures have moved since, or something around it: it is looked at when that was long enough ago.
    pub(super) stir: News,
    /// Of clients between its pods.
    pub(super) balance: Balance,
}

/// Whether the server's sessions could be looked at last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    Clear,
    None,
}

/// A pod.
pub(super) struct Pod {
    pub(super) id: PodId,
    pub(super) fact: PodFact,
    /// Uid of its `PgPooler`.
    pub(super) pooler: String,
    /// `None`: nobody limits it.
    pub(super) server: Option<ServerKey>,
    pub(super) reach: Reach,
    pub(super) report: Option<Report>,
    /// When its process started, by our clock.
    pub(super) started: Option<std::time::Instant>,
    pub(super) demand: Demand,
    pub(super) configured: Configured,
    pub(super) talk: Option<Talk>,
}

/// The conversation with a pod.
pub(super) struct Talk {
    address: IpAddr,
    ca: String,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    /// How many clients it should shed.
    pub(super) sheds: watch::Sender<u32>,
}

impl State {
    pub(super) fn new(epoch: u64) -> Self {
        Self {
            epoch,
            last_id: 0,
            groups: BTreeMap::new(),
            poolers: HashMap::new(),
            on: HashMap::new(),
            pods: HashMap::new(),
            uids: HashMap::new(),
            changed: BTreeSet::new(),
            writing: BTreeSet::new(),
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// A `PgPooler` that was there when this operator began to lead.
    pub(super) fn inherit(&mut self, object: &PgPooler, pods: &[PodFact]) {
        let Some(status) = &object.status else { return };
        let committed = status.ledger.as_ref().map_or(0, |ledger| unsigned(ledger.committed));
        let (Some(server), true) = (ServerKey::remembered(status), committed > 0) else { return };
        let uid = self.enter(object);
        self.settle(&uid, &server);
        let Some(pooler) = self.poolers.get_mut(&uid) else { return };
        pooler.committed = committed;
        let member = pooler.member;
        let epoch = self.epoch;
        let before = self.groups.get(&server).map_or(0, |group| group.ledger.totals().committed);
        if committed > before {
            // nothing has been decided yet, so the account can still be begun anew with the larger budget
            let mut group = Group::new(epoch, committed);
            for other in self.poolers_on(&server) {
                group.ledger.set_member(other.member, remembered(None));
                group.ledger.suspect(other.member);
            }
            for pod in self.on(&server) {
                let of = self.poolers.get(&pod.pooler).map_or(member, |pooler| pooler.member);
                group.ledger.add_pod(pod.id, of, pod.fact.floor);
            }
            self.groups.insert(server.clone(), group);
        }
        if let Some(group) = self.groups.get_mut(&server) {
            group.ledger.set_member(member, remembered(status.budget.as_ref()));
            let cap = status.budget.as_ref().map_or(committed, |budget| unsigned(budget.budget.into()));
            group.set_cap(member, cap);
        }
        if let Some(group) = self.groups.get_mut(&server) {
            group.ledger.suspect(member);
        }
        for fact in pods {
            self.add_pod(&uid, fact, Instant::now());
        }
    }

    /// Every pod that existed is known.
    pub(super) fn listed(&mut self) {
        self.groups.values_mut().for_each(|group| group.ledger.listed());
    }

    /// The `PgPooler` is known from now on.
    fn enter(&mut self, object: &PgPooler) -> String {
        let uid = object.uid().unwrap_or_default();
        if !self.poolers.contains_key(&uid) {
            let member = MemberId(self.next_id() as u32);
            let pooler = Pooler {
                key: ObjectRef::from_obj(object),
                member,
                server: None,
                pods: BTreeSet::new(),
                neighbour: Neighbour::default(),
                committed: 0,
                ca: String::new(),
                password: String::new(),
                newest: Newest::default(),
                peak: 0,
                foreign: None,
                roles: Roles::default(),
                usable: 0,
                sight: Sight::None,
                looked_at: Instant::now(),
                stir: News::None,
                balance: Balance::default(),
            };
            self.poolers.insert(uid.clone(), pooler);
        }
        uid
    }

    /// Which server, which neighbour: what `sharing` and `reconcile` begin with.
    pub(super) fn note(&mut self, object: &PgPooler, facts: &Facts) -> String {
        let uid = self.enter(object);
        let target = checks::target(object, &facts.secret, &facts.references).ok();
        let address = target.as_ref().map(crate::plan::target::Target::address);
        let seen = ServerKey::seen(&facts.server, address.as_deref());
        let Some(pooler) = self.poolers.get_mut(&uid) else { return uid };
        if let (Some(target), Ok(found)) = (&target, materials::materials(object, &facts.references)) {
            // pods that have not heard of it, or are gone, may still have those of before
            pooler.roles = std::mem::take(&mut pooler.roles).and(&found.roles(object, target));
        }
        let mut is_other = false;
        if let Some(target) = target {
            let budget = &object.spec.budget;
            let neighbour = Neighbour {
                name: format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any()),
                weight: unsigned(budget.weight.into()),
                keep_free: unsigned(budget.keep_free.into()),
                role: target.user,
                database: target.database,
            };
            is_other = neighbour != pooler.neighbour;
            pooler.neighbour = neighbour;
        }
        pooler.ca.clone_from(&facts.internal_tls.ca);
        pooler.password.clone_from(&facts.admin_password.0);
        let on = pooler.server.clone();
        if let Some(server) = seen.filter(|server| on.as_ref() != Some(server)) {
            self.moves(&uid, &server);
        } else if let Some(server) = on.filter(|_| is_other) {
            self.stir(&server);
        }
        uid
    }

    /// To another server, or to the first. Its pods come along with all that they could hold.
    fn moves(&mut self, uid: &str, server: &ServerKey) {
        let before = self.settle(uid, server);
        let Some(pooler) = self.poolers.get(uid) else { return };
        let (member, committed, epoch) = (pooler.member, pooler.committed, self.epoch);
        let mut pods = Vec::new();
        if let Some(group) = before.and_then(|before| self.groups.get_mut(&before)) {
            for pod in &pooler.pods {
                let Some(pod) = self.pods.get_mut(pod) else { continue };
                pods.push((pod.id, pod.fact.floor, group.ledger.charge(pod.id)));
                group.ledger.remove_pod(pod.id);
                // a conversation of its own with each ledger: the next one claims the pod for the new one
                (pod.server, pod.talk) = (Some(server.clone()), None);
            }
            group.ledger.forget_departed(member);
            group.leaves(member);
        }
        let group = self.groups.entry(server.clone()).or_insert_with(|| {
            let mut group = Group::new(epoch, committed);
            group.ledger.listed();
            group
        });
        group.news = News::Some;
        for (id, floor, charge) in pods.into_iter().filter(|(_, floor, _)| *floor > 0) {
            group.ledger.move_pod(id, member, floor, charge);
        }
    }

    /// What is wanted, and which pods exist. Whether the ledger has something to decide.
    pub(super) fn reconcile(
        &mut self,
        object: &PgPooler,
        facts: &Facts,
        sum: Option<&Sum>,
        now: Instant,
    ) -> bool {
        let uid = self.note(object, facts);
        let Some(pooler) = self.poolers.get_mut(&uid) else { return false };
        pooler.sight = if facts.backends.is_some() { Sight::Clear } else { Sight::None };
        (pooler.looked_at, pooler.stir) = (now, News::None);
        let enforced = object.spec.budget.mode == BudgetMode::Enforce;
        if let (Some(sum), Some(server)) = (sum, &pooler.server)
            && let Some(group) = self.groups.get_mut(server)
        {
            pooler.usable = sum.places.usable;
            let floor =
                sum.floor.max(sum.fresh_floor).max(facts.pods.iter().map(|pod| pod.floor).max().unwrap_or(0));
            let weight = pooler.neighbour.weight;
            let most_pods = if enforced { sum.max_pods } else { 0 };
            group.ledger.set_member(pooler.member, Member { floor, most_pods, weight, cap: sum.cap });
            // while pods that are limited are being replaced by others, they still need theirs
            let is_limited = enforced || facts.pods.iter().any(|pod| pod.floor > 0);
            group.set_cap(pooler.member, if is_limited { sum.cap } else { 0 });
            if let ServerFact::Seen(seen) = &facts.server {
                group.set_server(seen.max_connections, sum.places.budget);
            }
        }
        for fact in &facts.pods {
            self.add_pod(&uid, fact, now);
        }
        let exists: BTreeSet<&str> =
            facts.pods.iter().chain(&facts.vanished).map(|pod| pod.uid.as_str()).collect();
        self.remove_pods(&uid, |pod| !exists.contains(pod), now);
        self.look_at_graves(&uid, facts);
        self.decide_soon(&uid)
    }

    fn decide_soon(&mut self, uid: &str) -> bool {
        let server = self.poolers.get(uid).and_then(|pooler| pooler.server.clone());
        let Some(group) = server.and_then(|server| self.groups.get_mut(&server)) else { return false };
        group.news = News::Some;
        true
    }

    fn add_pod(&mut self, uid: &str, fact: &PodFact, now: Instant) {
        let Some(pooler) = self.poolers.get(uid) else { return };
        let (member, server) = (pooler.member, pooler.server.clone());
        // pods of an earlier configuration may be limited by nobody
        let server = server.filter(|_| fact.floor > 0);
        let id = match self.pods.get(&fact.uid) {
            Some(pod) => pod.id,
            None => PodId(self.next_id()),
        };
        if let Some(pooler) = self.poolers.get_mut(uid) {
            pooler.pods.insert(fact.uid.clone());
        }
        self.uids.insert(id, fact.uid.clone());
        let pod = self.pods.entry(fact.uid.clone()).or_insert_with(|| Pod {
            id,
            fact: fact.clone(),
            pooler: uid.to_owned(),
            server: None,
            reach: Reach::Silent,
            report: None,
            started: None,
            demand: Demand::new(0, now.into_std()),
            configured: Configured::default(),
            talk: None,
        });
        pod.fact = fact.clone();
        if let (None, Some(server)) = (&pod.server, server)
            && let Some(group) = self.groups.get_mut(&server)
        {
            group.ledger.add_pod(id, member, fact.floor);
            group.news = News::Some;
            pod.server = Some(server);
        }
    }

    fn remove_pods(&mut self, uid: &str, is_gone: impl Fn(&str) -> bool, now: Instant) {
        let Some(pooler) = self.poolers.get_mut(uid) else { return };
        let gone: Vec<String> = pooler.pods.extract_if(.., |id| is_gone(id)).collect();
        for id in gone {
            let Some(pod) = self.pods.remove(&id) else { continue };
            self.uids.remove(&pod.id);
            let Some(group) = pod.server.as_ref().and_then(|server| self.groups.get_mut(server)) else {
                continue;
            };
            group.ledger.remove_pod(pod.id);
            group.bury(pod.id, pod.fact.address.as_deref(), now.into_std());
            group.news = News::Some;
        }
    }

    /// What the server still has of processes that run no more.
    fn look_at_graves(&mut self, uid: &str, facts: &Facts) {
        let Some(looked) = &facts.backends else { return };
        let Some(server) = self.poolers.get(uid).and_then(|pooler| pooler.server.clone()) else { return };
        let Some(group) = self.groups.get(&server) else { return };
        if group.ledger.departed().is_empty() && !group.mourns() {
            return;
        }
        let living: BTreeSet<IpAddr> =
            self.on(&server).filter_map(|pod| pod.fact.address.as_ref()?.parse().ok()).collect();
        let roles = self.roles_on(&server);
        if let Some(group) = self.groups.get_mut(&server) {
            group.look_at_graves(looked, &living, &roles);
        }
        let Some(pooler) = self.poolers.get(uid) else { return };
        let processes: Vec<_> = self
            .pods_of(pooler)
            .filter_map(|pod| Some((pod.fact.address.as_ref()?.parse().ok()?, pod.started?)))
            .collect();
        let member = pooler.member;
        if let Some(group) = self.groups.get_mut(&server) {
            group.look_back(member, looked, &processes);
        }
    }

    pub(super) fn forget(&mut self, key: &ObjectRef<PgPooler>, pods: &[PodFact], now: Instant) {
        let Some(uid) =
            self.poolers.iter().find(|(_, pooler)| pooler.key == *key).map(|(uid, _)| uid.clone())
        else {
            return;
        };
        let exists: BTreeSet<&str> = pods.iter().map(|pod| pod.uid.as_str()).collect();
        self.remove_pods(&uid, |pod| !exists.contains(pod), now);
        let Some(pooler) = self.poolers.get(&uid) else { return };
        let (member, server) = (pooler.member, pooler.server.clone());
        if let Some(group) = server.as_ref().and_then(|server| self.groups.get_mut(server)) {
            group.leaves(member);
        }
        if !exists.is_empty() {
            return;
        }
        self.poolers.remove(&uid);
        if let Some(server) = server {
            self.leave_server(&uid, &server);
            if !self.on.contains_key(&server) {
                self.groups.remove(&server);
            }
        }
    }

    /// Pods of a `PgPooler` that have an address, and are not talked to.
    pub(super) fn greetings(&mut self, object: &PgPooler) -> Vec<Greeting> {
        let mut greetings = Vec::new();
        let Some(pooler) = object.uid().and_then(|uid| self.poolers.get(&uid)) else { return greetings };
        for uid in &pooler.pods {
            let Some(pod) = self.pods.get_mut(uid) else { continue };
            let address = pod.fact.address.as_ref().and_then(|address| address.parse::<IpAddr>().ok());
            let Some(address) = address.filter(|_| !pooler.ca.is_empty()) else { continue };
            let talked_to =
                pod.talk.as_ref().is_some_and(|talk| talk.address == address && talk.ca == pooler.ca);
            // what is granted must be written down where the next leader looks for it
            let budget = pod.server.as_ref().and_then(|server| self.groups.get(server));
            let is_written = budget.is_none_or(|group| pooler.committed >= group.ledger.totals().committed);
            if talked_to || !is_written {
                continue;
            }
            let (commands, receiver) = mpsc::unbounded_channel();
            let (sheds, shed) = watch::channel(0);
            pod.talk = Some(Talk { address, ca: pooler.ca.clone(), commands, sheds });
            greetings.push(Greeting {
                uid: uid.clone(),
                pod: if pod.server.is_some() { Spoken::Limited } else { Spoken::Measured },
                address,
                ca: pooler.ca.clone(),
                password: pooler.password.clone(),
                commands: receiver,
                shed,
                mind: Mind::new(pooler.newest.subscribe()),
            });
        }
        greetings
    }
}

/// What a status remembers of a `PgPooler`, until it is reckoned anew.
fn remembered(budget: Option<&crate::api::BudgetStatus>) -> Member {
    let of = |pick: fn(&crate::api::BudgetStatus) -> i32| budget.map_or(0, |one| unsigned(pick(one).into()));
    Member { floor: of(|one| one.floor), most_pods: of(|one| one.max_pods), weight: 1, cap: u32::MAX }
}

fn unsigned(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}
