//! Who has left, and how.

use std::collections::BTreeMap;

/// Whose clients are counted together.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Application {
    /// `application_name`, as the client gave it.
    pub name: String,
    /// The database that it asked for.
    pub database: String,
    /// The user that it logged in as.
    pub user: String,
}

/// How a client left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Its own test whether the connection is there was answered with the end.
    LivenessTest,
    /// It had been silent for long enough.
    Silence,
    /// The deadline had come, and its transaction had ended.
    Deadline,
    /// The deadline had passed, and its transaction was cancelled.
    Cancelled,
    /// By itself.
    Own,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::LivenessTest, Self::Silence, Self::Deadline, Self::Cancelled, Self::Own];

    /// Its name on the console and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LivenessTest => "liveness_test",
            Self::Silence => "silence",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::Own => "own",
        }
    }
}

/// The name of all applications beyond those that are counted one by one.
pub const OTHERS: &str = "(others)";

/// Applications that are counted one by one: names come from clients, and there may be any number of them.
const MOST: usize = 200;

/// How many clients of each application left in which way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Departures(BTreeMap<Application, [u64; Way::ALL.len()]>);

impl Departures {
    /// One more.
    pub fn count(&mut self, application: &Application, way: Way) {
        let known = self.0.len() < MOST || self.0.contains_key(application);
        let others;
        let application = if known {
            application
        } else {
            others = Application { name: OTHERS.to_owned(), ..Application::default() };
            &others
        };
        let counts = match self.0.get_mut(application) {
            Some(counts) => counts,
            None => self.0.entry(application.clone()).or_default(),
        };
        counts[way as usize] += 1;
    }

    /// Each application with its counts, by [`Way::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (&Application, &[u64; Way::ALL.len()])> {
        self.0.iter()
    }

    /// All applications together, by [`Way::ALL`].
    pub fn totals(&self) -> [u64; Way::ALL.len()] {
        let mut totals = [0; Way::ALL.len()];
        for counts in self.0.values() {
            totals.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
        }
        totals
    }

    /// By the name of the application alone, for metrics.
    pub fn by_name(&self) -> BTreeMap<&str, [u64; Way::ALL.len()]> {
        let mut names: BTreeMap<&str, [u64; Way::ALL.len()]> = BTreeMap::new();
        for (application, counts) in &self.0 {
            let sums = names.entry(&application.name).or_default();
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        names
    }
}

/// The sums of the applications of one name; of names beyond those that are counted one by one, together.
pub fn by_name(counts: &BTreeMap<Application, u32>) -> BTreeMap<&str, u64> {
    let mut names: BTreeMap<&str, u64> = BTreeMap::new();
    for (application, count) in counts {
        let known = names.len() < MOST || names.contains_key(&*application.name);
        *names.entry(if known { &application.name } else { OTHERS }).or_default() += u64::from(*count);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn application(name: &str, user: &str) -> Application {
        Application { name: name.to_owned(), database: "shop".to_owned(), user: user.to_owned() }
    }

    #[test]
    fn an_application_is_counted_for_each_user_and_once_in_metrics() {
        let mut departures = Departures::default();
        departures.count(&application("orders", "one"), Way::Silence);
        departures.count(&application("orders", "two"), Way::Silence);
        departures.count(&application("orders", "two"), Way::Own);
        assert_eq!(departures.iter().count(), 2);
        assert_eq!(departures.totals(), [0, 2, 0, 0, 1]);
        assert_eq!(departures.by_name(), BTreeMap::from([("orders", [0, 2, 0, 0, 1])]));
    }

    #[test]
    fn ways_are_counted_in_their_own_places() {
        for (n, way) in Way::ALL.into_iter().enumerate() {
            assert_eq!(n, way as usize);
        }
    }

    #[test]
    fn however_many_names_clients_give_few_are_kept() {
        let mut departures = Departures::default();
        for n in 0..3 * MOST {
            departures.count(&application(&n.to_string(), "app"), Way::Own);
        }
        departures.count(&application("0", "app"), Way::Own);
        assert_eq!(departures.iter().count(), MOST + 1);
        assert_eq!(departures.by_name()[OTHERS][Way::Own as usize], 2 * MOST as u64);
        assert_eq!(departures.by_name()["0"][Way::Own as usize], 2);
        assert_eq!(departures.totals()[Way::Own as usize], 3 * MOST as u64 + 1);
    }
}
