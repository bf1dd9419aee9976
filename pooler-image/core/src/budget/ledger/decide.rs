//! Who should have how much, and what to tell whom.
//!
//! Everything is given out: while nobody lacks anything, what is free goes to those who have least. When pods need more
//! than they have, a fair part is reckoned for each by what it needs (weighted max-min: first between `PgPoolers`, then
//! between their pods), and just so much is taken from those above their fair part as is lacking. Nothing moves
//! without somebody in need, so nothing swings.

use std::collections::BTreeMap;

use super::super::fill::{Claim, fill, raise};
use super::super::protocol::Command;
use super::pod::{Contact, Delivery, Standing, Trust};
use super::{Effect, Ledger, Mark, MemberId, Mood, PodId};

/// A pod that can be told.
struct Line {
    pod: PodId,
    member: MemberId,
    floor: u32,
    mood: Mood,
    charge: u32,
    /// What it was told last.
    told: u32,
    want: u32,
    /// Its fair part of what is needed.
    fair: u32,
    /// What it is to be told.
    aim: u32,
}

impl Line {
    fn lacks(&self) -> u32 {
        self.fair.saturating_sub(self.aim)
    }

    fn spares(&self) -> u32 {
        self.aim.saturating_sub(self.fair)
    }
}

/// What a `PgPooler` may still have.
#[derive(Clone, Copy)]
struct Room {
    weight: u32,
    /// Above the floors of the pods that can be told, if all else were given back.
    most: u32,
    /// Now.
    now: u32,
    /// It has more than it may have, what is on its way back not counted.
    over: u32,
}

impl Ledger {
    /// What to do next. Nothing, if nothing has happened since.
    pub fn decide(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        effects.extend(self.commit());
        let mut lines = self.lines();
        self.share_out(&mut lines);
        for line in lines {
            effects.extend(self.tell(&line));
        }
        effects.extend(self.confirm());
        effects
    }

    /// A larger budget is written down before it is used, a smaller one when it is in force.
    fn commit(&mut self) -> Option<Effect> {
        let budget = &self.budget;
        if budget.writing.is_some() || budget.written.is_some() || budget.wanted == budget.committed {
            return None;
        }
        let totals = self.totals();
        let in_force = u64::from(totals.charged) + u64::from(totals.aside) <= u64::from(budget.wanted);
        if budget.wanted < budget.committed && !in_force {
            return None;
        }
        self.budget.writing = Some(self.budget.wanted);
        Some(Effect::Commit(self.budget.wanted))
    }

    fn confirm(&mut self) -> Option<Effect> {
        let unconfirmed = self.pods.values().filter_map(|pod| match &pod.standing {
            Standing::Met(met) => match met.trust {
                Trust::Unconfirmed(mark) => Some(mark),
                Trust::Confirmed => None,
            },
            Standing::Inherited | Standing::Newborn | Standing::Moved(_) => None,
        });
        let written = self.budget.written.map(|(_, mark)| mark);
        let departed = self.departed.iter().filter_map(|departed| departed.seen.map(|(_, mark)| mark));
        let needed = unconfirmed.chain(written).chain(departed).max().unwrap_or(Mark::default());
        if needed <= self.asked_mark {
            return None;
        }
        self.asked_mark = needed;
        Some(Effect::Confirm(needed))
    }

    fn tell(&mut self, line: &Line) -> Option<Effect> {
        let (max_connections, budget) = (self.max_connections, self.budget.in_force());
        let pod = self.pods.get(&line.pod)?;
        let (Standing::Met(met), Contact::Made) = (&pod.standing, pod.contact) else { return None };
        let lost = met.sent.is_some_and(|sent| sent.delivery == Delivery::Lost);
        let outdated = met.last_basis() != Some(max_connections);
        if line.aim == line.told && !lost && !outdated {
            return None;
        }
        let stamp = self.stamp();
        let Standing::Met(met) = &mut self.pods.get_mut(&line.pod)?.standing else { return None };
        met.send(stamp.sequence, line.aim, max_connections);
        Some(Effect::Send(line.pod, Command::Limit { stamp, limit: line.aim, budget, max_connections }))
    }

    fn lines(&self) -> Vec<Line> {
        let line = |(id, pod): (&PodId, &super::pod::Pod)| match &pod.standing {
            Standing::Met(met) if met.trust == Trust::Confirmed => Some(Line {
                pod: *id,
                member: pod.member,
                floor: pod.floor,
                mood: met.mood,
                charge: met.charge(pod.floor),
                told: met.aim(),
                want: pod.want,
                fair: pod.floor,
                aim: met.aim().max(pod.floor),
            }),
            _ => None,
        };
        self.pods.iter().filter_map(line).collect()
    }

    fn share_out(&self, lines: &mut [Line]) {
        let rooms = self.rooms(lines);
        self.reckon_fair(lines, &rooms);
        self.take_back(lines, &rooms);
        let rest = give(lines, &rooms, self.totals().free());
        if lines.iter().all(|line| line.lacks() == 0) {
            spread(lines, &rooms, rest);
        }
    }

    fn rooms(&self, lines: &[Line]) -> BTreeMap<MemberId, Room> {
        let room = |(id, member): (&MemberId, &super::Member)| {
            let mine = |line: &&Line| line.member == *id;
            let sum = |of: fn(&Line) -> u32| lines.iter().filter(mine).map(of).sum::<u32>();
            let all: u32 = self.charges().filter(|one| one.member == *id).map(|one| one.charge).sum();
            let used = all + self.departed_charge(|other| other == *id) + self.aside(*id, member);
            let others = used - sum(|line| line.charge);
            let coming_back = sum(|line| line.charge.saturating_sub(line.aim));
            let most = member.cap.saturating_sub(others + sum(|line| line.floor));
            let now = member.cap.saturating_sub(used);
            let over = used.saturating_sub(member.cap).saturating_sub(coming_back);
            (*id, Room { weight: member.weight, most, now, over })
        };
        self.members.iter().map(room).collect()
    }

    /// Everybody's fair part of what there is, if all else were given back.
    fn reckon_fair(&self, lines: &mut [Line], rooms: &BTreeMap<MemberId, Room>) {
        let totals = self.totals();
        let charges: u32 = lines.iter().map(|line| line.charge).sum();
        let floors: u32 = lines.iter().map(|line| line.floor).sum();
        let others = totals.charged - charges;
        let total = totals.budget.saturating_sub(totals.aside).saturating_sub(others).saturating_sub(floors);
        let wants = |line: &Line| line.want.saturating_sub(line.floor);
        for (index, part) in divide(total, lines, rooms, wants, |room| room.most) {
            lines[index].fair = lines[index].floor + part;
        }
    }

    /// Lowers the aims of those who have more than their fair part, by what is lacking.
    fn take_back(&self, lines: &mut [Line], rooms: &BTreeMap<MemberId, Room>) {
        for line in lines.iter_mut().filter(|line| line.mood == Mood::Draining) {
            line.aim = line.aim.min(line.fair);
        }
        for (id, room) in rooms {
            take(lines, room.over, |line| line.member == *id);
        }
        let totals = self.totals();
        let coming_back: u32 = lines.iter().map(|line| line.charge.saturating_sub(line.aim)).sum();
        let lacking: u32 = lines.iter().map(Line::lacks).sum();
        // a pod that is silent is no reason to take from others, only a reason not to give
        let silent = totals.unheard - self.unheard_floors(|_| true).min(totals.unheard);
        let free = if lacking == 0 { totals.free() + i64::from(silent) } else { totals.free() };
        let short = i64::from(lacking) - free - i64::from(coming_back);
        take(lines, short.clamp(0, i64::from(u32::MAX)) as u32, |_| true);
    }
}

/// Takes `short` from those who spare something, and leaves them as equal as may be.
fn take(lines: &mut [Line], short: u32, from: impl Fn(&Line) -> bool) {
    let chosen: Vec<usize> = (0..lines.len()).filter(|index| from(&lines[*index])).collect();
    let claims: Vec<Claim> =
        chosen.iter().map(|index| Claim { weight: 1, want: lines[*index].spares() }).collect();
    let spare: u32 = claims.iter().map(|claim| claim.want).sum();
    let left = fill(spare.saturating_sub(short), &claims);
    for (index, left) in chosen.into_iter().zip(left) {
        let line = &mut lines[index];
        line.aim = line.aim.min(line.fair + left);
    }
}

/// Gives what is free to those who lack something; returns what is left of it.
fn give(lines: &mut [Line], rooms: &BTreeMap<MemberId, Room>, free: i64) -> u32 {
    let free = free.clamp(0, i64::from(u32::MAX)) as u32;
    let mut given = 0;
    for (index, part) in divide(free, lines, rooms, Line::lacks, |room| room.now) {
        lines[index].aim += part;
        given += part;
    }
    free - given
}

/// Gives what nobody lacks to those who have least.
fn spread(lines: &mut [Line], rooms: &BTreeMap<MemberId, Room>, rest: u32) {
    let serves = |line: &Line| line.mood == Mood::Serving;
    let members: Vec<(&MemberId, &Room)> =
        rooms.iter().filter(|(id, _)| lines.iter().any(|line| line.member == **id && serves(line))).collect();
    let claims: Vec<Claim> =
        members.iter().map(|(_, room)| Claim { weight: room.weight, want: room.now }).collect();
    for ((id, _), part) in members.into_iter().zip(fill(rest, &claims)) {
        let chosen: Vec<usize> =
            (0..lines.len()).filter(|index| lines[*index].member == *id && serves(&lines[*index])).collect();
        let levels: Vec<u32> = chosen.iter().map(|index| lines[*index].aim).collect();
        for (index, level) in chosen.into_iter().zip(raise(part, &levels)) {
            lines[index].aim = level;
        }
    }
}

/// Divides `total` between `PgPoolers`, and each one's part between its pods.
fn divide(
    total: u32,
    lines: &[Line],
    rooms: &BTreeMap<MemberId, Room>,
    wants: impl Fn(&Line) -> u32,
    most: impl Fn(&Room) -> u32,
) -> Vec<(usize, u32)> {
    let pods = |id: MemberId| (0..lines.len()).filter(move |index| lines[*index].member == id);
    let member = |(id, room): (&MemberId, &Room)| {
        let want: u32 = pods(*id).fold(0, |sum: u32, index| sum.saturating_add(wants(&lines[index])));
        Claim { weight: room.weight, want: want.min(most(room)) }
    };
    let claims: Vec<Claim> = rooms.iter().map(member).collect();
    let mut parts = Vec::new();
    for (id, part) in rooms.keys().zip(fill(total, &claims)) {
        let claims: Vec<Claim> =
            pods(*id).map(|index| Claim { weight: 1, want: wants(&lines[index]) }).collect();
        parts.extend(pods(*id).zip(fill(part, &claims)));
    }
    parts
}
