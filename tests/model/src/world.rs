//! Everything around the decisions: pods, operators, messages, PostgreSQL.

use std::collections::BTreeSet;

use pgpooler_core::budget::{Command, Effect, Holder, Ledger, Link, MemberId, PodId, Report, Use};

use crate::faults::Rule;
use crate::operator::{Disk, MAX_CONNECTIONS, Operator, Turn};
use crate::{Limits, Scene};

/// All there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// 0: PostgreSQL is large; 1: it is small.
    pub server: u8,
    /// What the API server has.
    pub disk: Disk,
    /// All pods that ever were.
    pub pods: Vec<Pod>,
    /// Those who believe that they lead.
    pub operators: Vec<Operator>,
    /// Messages that were ever sent: each may arrive never, once, or again and again.
    pub messages: BTreeSet<Message>,
    /// What may still happen.
    pub left: Limits,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pod {
    /// Which.
    pub id: PodId,
    /// Whose.
    pub member: MemberId,
    /// The API server has it, and its process runs.
    pub exists: bool,
    /// Of its process.
    pub incarnation: u64,
    /// Its side of the protocol.
    pub holder: Holder,
    /// Slots that its process holds.
    pub held: u32,
    /// Slots of its dead processes, which the server has not noticed: (incarnation, slots).
    pub left_behind: Vec<(u64, u32)>,
}

/// On the way. A connection belongs to one process of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Message {
    /// To a process.
    Command {
        /// Whose.
        pod: u64,
        /// Which.
        incarnation: u64,
        /// On which connection.
        link: u64,
        /// In the order of (epoch, sequence): `CLAIM` has sequence 0.
        stamp: (u64, u64),
        /// Limit, budget and `max_connections`; `None`: a claim.
        terms: Option<[u32; 3]>,
    },
    /// To the operator of an epoch.
    Report {
        /// Which operator.
        to: u64,
        /// Whose.
        pod: u64,
        /// On which connection.
        link: u64,
        /// Incarnation, number, epoch, sequence, limit, held.
        said: [u64; 6],
    },
}

/// What may happen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// An operator wins the Lease, whoever else still acts.
    Wins,
    /// It looks at what is there.
    Looks(usize),
    /// It does what its ledger says.
    Decides(usize),
    /// Its request to the API server goes on.
    Turns(usize, Turn),
    /// It connects to a pod anew, and claims it.
    Claims(usize, PodId),
    /// It hears that a pod has come or ended.
    Hears(usize, PodId),
    /// It looks how large PostgreSQL is.
    LooksAtServer(usize),
    /// It looks which connections of dead processes the server has.
    LooksAtBackends(usize),
    /// It learns what a pod needs.
    Wants(usize, PodId, u32),
    /// A message arrives.
    Arrives(Message),
    /// A pod tells without being asked.
    Tells(PodId),
    /// No operator has spoken to it in time.
    GivesUp(PodId),
    /// It opens all that it may hold.
    Opens(PodId),
    /// Those above its limit are closed, or all.
    Closes(PodId),
    /// Its process dies, and starts again.
    Dies(PodId),
    /// It ends.
    Ends(PodId),
    /// A pod comes.
    Comes(MemberId),
    /// The server notices that a dead process has gone.
    Notices(PodId),
    /// PostgreSQL restarts, with the other `max_connections`.
    Restarts,
}

impl World {
    pub(crate) fn new(scene: &Scene) -> Self {
        let mut disk = Disk { committed: scene.budgets[usize::from(scene.server)], epoch: 1, lease: 0 };
        let first = Operator::wins(&mut disk);
        let pod = |number: u32| Pod::new(u64::from(number), MemberId(number % scene.members));
        Self {
            server: scene.server,
            disk,
            pods: (0..scene.pods).map(pod).collect(),
            operators: vec![first],
            messages: BTreeSet::new(),
            left: scene.most,
        }
    }

    /// The most connections that PostgreSQL could be made to have from here on without any message.
    pub fn could_hold(&self) -> u32 {
        let pods = self.pods.iter().map(|pod| {
            let mut holder = pod.holder.clone();
            holder.give_up_waiting();
            // what is opened before the first login has asked, and after it
            let before = holder.allowed();
            holder.server_seen(MAX_CONNECTIONS[usize::from(self.server)]);
            let could = if pod.exists { before.max(holder.allowed()).max(pod.held) } else { 0 };
            could + pod.left_behind.iter().map(|(_, count)| count).sum::<u32>()
        });
        pods.sum()
    }

    pub(crate) fn actions(&self, scene: &Scene, actions: &mut Vec<Action>) {
        for index in 0..self.operators.len() {
            self.operators_actions(scene, index, actions);
        }
        for pod in &self.pods {
            self.pods_actions(pod, actions);
        }
        actions.extend(self.messages.iter().cloned().map(Action::Arrives));
        if self.left.takeovers > 0 {
            actions.push(Action::Wins);
        }
        if self.left.restarts > 0 {
            actions.push(Action::Restarts);
        }
        for member in (0..scene.members).map(MemberId) {
            // a place is taken until the server has noticed that its pod has gone
            let taken = self.pods.iter().filter(|pod| pod.member == member).map(Pod::places).sum::<usize>();
            if self.left.births > 0 && taken < scene.most_pods as usize {
                actions.push(Action::Comes(member));
            }
        }
    }

    fn operators_actions(&self, scene: &Scene, index: usize, actions: &mut Vec<Action>) {
        let operator = &self.operators[index];
        if operator.ledger.is_none() {
            actions.push(Action::Looks(index));
            return;
        }
        actions.extend([
            Action::Decides(index),
            Action::LooksAtServer(index),
            Action::LooksAtBackends(index),
        ]);
        let turns = [Turn::Confirm, Turn::Commit].into_iter().filter(|turn| operator.has_request(*turn));
        actions.extend(turns.map(|turn| Action::Turns(index, turn)));
        for pod in &self.pods {
            if !operator.knows(self, pod.id) {
                actions.push(Action::Hears(index, pod.id));
            } else if pod.exists {
                let linked = operator.links.get(&pod.id).is_some_and(|(_, to)| *to == pod.incarnation);
                if !linked || self.left.cuts > 0 {
                    actions.push(Action::Claims(index, pod.id));
                }
                if self.left.wants > 0 {
                    let wants = [1, scene.budgets[0]];
                    actions.extend(wants.map(|want| Action::Wants(index, pod.id, want)));
                }
            }
        }
    }

    fn pods_actions(&self, pod: &Pod, actions: &mut Vec<Action>) {
        let id = pod.id;
        if !pod.left_behind.is_empty() {
            actions.push(Action::Notices(id));
        }
        if !pod.exists {
            return;
        }
        for (left, action) in [
            (self.left.give_ups, Action::GivesUp(id)),
            (self.left.opens, Action::Opens(id)),
            // what is above the limit is closed sooner or later in any case
            (self.left.closes.max(u8::from(pod.held > pod.holder.allowed())), Action::Closes(id)),
            (self.left.tellings, Action::Tells(id)),
            (self.left.deaths, Action::Dies(id)),
            (self.left.ends, Action::Ends(id)),
        ] {
            if left > 0 {
                actions.push(action);
            }
        }
    }

    pub(crate) fn act(&mut self, scene: &Scene, action: Action) {
        match action {
            Action::Wins => {
                self.left.takeovers -= 1;
                self.operators.push(Operator::wins(&mut self.disk));
            }
            Action::Looks(index) => {
                let pods: Vec<_> =
                    self.pods.iter().filter(|pod| pod.exists).map(|pod| (pod.id, pod.member)).collect();
                self.operators[index].looks(scene, &self.disk, self.server, &pods);
            }
            Action::Decides(index) => self.decides(scene, index),
            Action::Turns(index, turn) => self.turns(index, turn),
            Action::Arrives(message) => self.arrives(scene, &message),
            Action::Restarts => self.restarts(scene),
            Action::Comes(member) => {
                self.left.births -= 1;
                self.pods.push(Pod::new(self.pods.len() as u64, member));
            }
            Action::Claims(index, id) => self.claims(index, id),
            Action::Hears(..) | Action::LooksAtServer(_) | Action::LooksAtBackends(_) | Action::Wants(..) => {
                self.learns(scene, &action);
            }
            Action::Tells(_)
            | Action::GivesUp(_)
            | Action::Opens(_)
            | Action::Closes(_)
            | Action::Dies(_)
            | Action::Ends(_)
            | Action::Notices(_) => self.lives(&action),
        }
    }

    fn learns(&mut self, scene: &Scene, action: &Action) {
        let (Action::Hears(index, _)
        | Action::LooksAtServer(index)
        | Action::LooksAtBackends(index)
        | Action::Wants(index, ..)) = action
        else {
            return;
        };
        let (pods, server, left) = (&self.pods, usize::from(self.server), &mut self.left);
        let Some(ledger) = &mut self.operators[*index].ledger else { return };
        match action {
            Action::Hears(_, id) => match pods.iter().find(|pod| pod.id == *id && pod.exists) {
                Some(pod) => ledger.add_pod(*id, pod.member, 1),
                None => ledger.remove_pod(*id),
            },
            Action::LooksAtServer(_) => ledger.set_server(MAX_CONNECTIONS[server], scene.budgets[server]),
            Action::LooksAtBackends(_) => {
                for departed in ledger.departed().to_vec() {
                    let count = left_behind(pods, departed.pod, departed.incarnation);
                    let count = if scene.broken == Some(Rule::WaitForBackends) { 0 } else { count };
                    ledger.backends(departed.pod, departed.incarnation, count);
                }
            }
            Action::Wants(_, id, want) => {
                left.wants -= 1;
                ledger.want(*id, *want);
            }
            _ => {}
        }
    }

    fn lives(&mut self, action: &Action) {
        let (Action::Tells(id)
        | Action::GivesUp(id)
        | Action::Opens(id)
        | Action::Closes(id)
        | Action::Dies(id)
        | Action::Ends(id)
        | Action::Notices(id)) = action
        else {
            return;
        };
        let large = MAX_CONNECTIONS[usize::from(self.server)];
        let Some(pod) = self.pods.iter_mut().find(|pod| pod.id == *id) else { return };
        match action {
            Action::GivesUp(_) => {
                self.left.give_ups -= 1;
                pod.holder.give_up_waiting();
            }
            Action::Opens(_) => {
                self.left.opens -= 1;
                pod.opens(large);
            }
            Action::Closes(_) => {
                if pod.held <= pod.holder.allowed() {
                    self.left.closes -= 1;
                }
                pod.closes();
            }
            Action::Notices(_) => pod.left_behind.clear(),
            Action::Dies(_) => {
                self.left.deaths -= 1;
                pod.dies();
            }
            Action::Ends(_) => {
                self.left.ends -= 1;
                pod.dies();
                pod.exists = false;
            }
            _ => {
                self.left.tellings -= 1;
                let report = pod.report();
                for operator in &self.operators {
                    if let Some((link, to)) = operator.links.get(id)
                        && *to == pod.incarnation
                    {
                        self.messages.insert(Message::report(operator.epoch, *id, link.0, &report));
                    }
                }
            }
        }
    }

    fn decides(&mut self, scene: &Scene, index: usize) {
        let operator = &mut self.operators[index];
        let effects = operator.ledger.as_mut().map(Ledger::decide).unwrap_or_default();
        let sends: Vec<_> =
            effects.into_iter().filter_map(|effect| operator.takes_effect(scene, effect)).collect();
        for effect in sends {
            if let Effect::Send(id, Command::Limit { stamp, limit, budget, max_connections }) = effect {
                let stamp = (stamp.epoch, stamp.sequence);
                self.send(index, id, stamp, Some([limit, budget, max_connections]));
            }
        }
    }

    fn turns(&mut self, index: usize, turn: Turn) {
        let operator = self.operators.remove(index);
        if let Some(operator) = operator.turns(turn, &mut self.disk) {
            self.operators.insert(index, operator);
        }
    }

    fn claims(&mut self, index: usize, id: PodId) {
        let Some(pod) = self.pods.iter().find(|pod| pod.id == id && pod.exists) else { return };
        let operator = &mut self.operators[index];
        let Some(ledger) = &mut operator.ledger else { return };
        if operator.links.get(&id).is_some_and(|(_, to)| *to == pod.incarnation) {
            self.left.cuts -= 1;
        }
        operator.links.insert(id, (ledger.link(id), pod.incarnation));
        let stamp = (operator.epoch, 0);
        self.send(index, id, stamp, None);
    }

    /// On the latest connection.
    fn send(&mut self, index: usize, id: PodId, stamp: (u64, u64), terms: Option<[u32; 3]>) {
        if let Some((link, incarnation)) = self.operators[index].links.get(&id) {
            let message =
                Message::Command { pod: id.0, incarnation: *incarnation, link: link.0, stamp, terms };
            self.messages.insert(message);
        }
    }

    fn arrives(&mut self, scene: &Scene, message: &Message) {
        match message {
            Message::Command { pod, incarnation, link, stamp, terms } => {
                let here = |one: &&mut Pod| one.id.0 == *pod && one.exists && one.incarnation == *incarnation;
                let Some(process) = self.pods.iter_mut().find(here) else { return };
                if let Some(report) = process.obeys(scene, *stamp, *terms) {
                    self.messages.insert(Message::report(stamp.0, PodId(*pod), *link, &report));
                }
            }
            Message::Report { to, pod, link, said } => {
                let operator = self.operators.iter_mut().find(|operator| operator.epoch == *to);
                if let Some(ledger) = operator.and_then(|operator| operator.ledger.as_mut()) {
                    ledger.reported(PodId(*pod), Link(*link), &Message::read(said));
                }
            }
        }
    }

    fn restarts(&mut self, scene: &Scene) {
        self.left.restarts -= 1;
        self.server = 1 - self.server;
        for pod in &mut self.pods {
            pod.held = 0;
            pod.left_behind.clear();
            if scene.broken != Some(Rule::AskTheServer) {
                pod.holder.server_lost();
            }
        }
    }
}

/// What the server has of a dead process, or of all that died before anybody looked.
pub(crate) fn left_behind(pods: &[Pod], id: PodId, incarnation: Option<u64>) -> u32 {
    let before = |member: MemberId| id == PodId::before(member);
    let of = pods.iter().filter(|pod| pod.id == id || before(pod.member));
    of.map(|pod| pod.left_by(incarnation)).sum()
}

impl Pod {
    fn new(number: u64, member: MemberId) -> Self {
        Self {
            id: PodId(number),
            member,
            exists: true,
            incarnation: 1,
            holder: Holder::awaiting(1),
            held: 0,
            left_behind: Vec::new(),
        }
    }

    /// Places that it takes of those that are set aside.
    fn places(&self) -> usize {
        usize::from(self.exists) + self.left_behind.len()
    }

    fn left_by(&self, incarnation: Option<u64>) -> u32 {
        let of = |one: u64| incarnation.is_none_or(|wanted| wanted == one);
        self.left_behind.iter().filter(|(one, _)| of(*one)).map(|(_, count)| count).sum()
    }

    pub(crate) fn opens(&mut self, max_connections: u32) {
        let allowed = self.holder.allowed();
        if self.held < allowed {
            self.held = allowed;
            if self.holder.must_ask_server() {
                self.holder.server_seen(max_connections);
            }
        }
    }

    fn closes(&mut self) {
        let allowed = self.holder.allowed();
        self.held = if self.held > allowed { allowed } else { 0 };
        if self.held == 0 {
            self.holder.server_lost();
        }
    }

    fn dies(&mut self) {
        if self.held > 0 {
            self.left_behind.push((self.incarnation, self.held));
        }
        self.held = 0;
        self.incarnation += 1;
        self.holder = Holder::awaiting(1);
    }

    pub(crate) fn report(&mut self) -> Report {
        self.holder.report(self.incarnation, 0, Use { held: self.held, ..Use::default() })
    }

    fn obeys(
        &mut self,
        scene: &Scene,
        (epoch, sequence): (u64, u64),
        terms: Option<[u32; 3]>,
    ) -> Option<Report> {
        let stamp = pgpooler_core::budget::Stamp { epoch, sequence };
        let command = match terms {
            None => Command::Claim { epoch },
            Some([limit, budget, max_connections]) => {
                Command::Limit { stamp, limit, budget, max_connections }
            }
        };
        let before = self.holder.clone();
        if self.holder.obey(command).is_err() {
            if scene.broken != Some(Rule::RefuseOldEpochs) {
                return None;
            }
            self.holder = Holder::awaiting(1);
            self.holder.server_seen(MAX_CONNECTIONS[0]);
            self.holder.obey(Command::Claim { epoch }).ok()?;
            self.holder.obey(command).ok()?;
        }
        // an answer to what is known already is no more than a report that nobody asked for
        (self.holder != before).then(|| self.report())
    }
}

impl Message {
    fn report(to: u64, pod: PodId, link: u64, report: &Report) -> Self {
        let said = [
            report.incarnation,
            report.number,
            report.stamp.epoch,
            report.stamp.sequence,
            u64::from(report.limit),
            u64::from(report.usage.held),
        ];
        Self::Report { to, pod: pod.0, link, said }
    }

    fn read(said: &[u64; 6]) -> Report {
        let [incarnation, number, epoch, sequence, limit, held] = *said;
        Report {
            incarnation,
            uptime: 0,
            number,
            stamp: pgpooler_core::budget::Stamp { epoch, sequence },
            phase: pgpooler_core::budget::Phase::Serving,
            floor: 1,
            limit: limit as u32,
            max_connections: None,
            usage: Use { held: held as u32, ..Use::default() },
            clients: None,
        }
    }
}
