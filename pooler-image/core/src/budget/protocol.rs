//! What operator and pod say to each other, as it stands on the admin console.

use std::fmt;

/// Orders commands: a later leader has a higher epoch, a later command of one leader a higher sequence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Of the leader: from its Lease.
    pub epoch: u64,
    /// Of the command.
    pub sequence: u64,
}

/// What a pod is told. Its [`fmt::Display`] is the command on the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// From now on the pod refuses whoever has a lower epoch.
    Claim {
        /// Of the leader that asks.
        epoch: u64,
    },
    /// What the pod may hold.
    Limit {
        /// Newer than all that the pod has obeyed.
        stamp: Stamp,
        /// Slots.
        limit: u32,
        /// What all pods may hold together: limits of pools are shared out in proportion.
        budget: u32,
        /// `max_connections` of the server that it was reckoned for.
        max_connections: u32,
    },
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim { epoch } => write!(f, "CLAIM EPOCH {epoch}"),
            Self::Limit { stamp: Stamp { epoch, sequence }, limit, budget, max_connections } => write!(
                f,
                "LIMIT {limit} OF {budget} EPOCH {epoch} SEQUENCE {sequence} MAX_CONNECTIONS {max_connections}"
            ),
        }
    }
}

/// Where a pod is in its life, as far as the budget goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// No operator has spoken to it yet: it holds nothing.
    Awaiting,
    /// No operator has spoken to it in time: it serves from its floor.
    Floor,
    /// It has a limit.
    Serving,
    /// It was told to end.
    Draining,
    /// There is no operator: its limit is that of its document.
    Standalone,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Awaiting, Self::Floor, Self::Serving, Self::Draining, Self::Standalone];

    /// Its name on the console.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Awaiting => "awaiting",
            Self::Floor => "floor",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Standalone => "standalone",
        }
    }
}

/// What a pod has and needs, counted by its pools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Use {
    /// Slots held: logins, active, idle and closing connections.
    pub held: u32,
    /// Connections that clients are using.
    pub active: u32,
    /// Clients that wait for one.
    pub waiting: u32,
    /// Logins that the server refused because it was full (SQLSTATE 53300, not the limit of a role or a database).
    pub refused: u64,
}

/// What a pod says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Report {
    /// Drawn at random when the process started: after a restart of the container it is another.
    pub incarnation: u64,
    /// Milliseconds since the process started: sessions from its address that are older are of one before it.
    pub uptime: u64,
    /// Rises with every report of an incarnation, so that an older one is known as such.
    pub number: u64,
    /// Of the newest command that was obeyed; with sequence 0 only the claim was.
    pub stamp: Stamp,
    /// Where it is in its life.
    pub phase: Phase,
    /// What it may hold without hearing from anybody.
    pub floor: u32,
    /// What it may hold.
    pub limit: u32,
    /// `max_connections` as the server told it, since the connections to it were last lost.
    pub max_connections: Option<u32>,
    /// What it has and needs.
    pub usage: Use,
    /// Its clients; none: it is older than this figure.
    pub clients: Option<u32>,
}

/// A row of `SHOW BUDGET` that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("SHOW BUDGET has no proper `{0}`")]
pub struct BadReport(pub &'static str);

impl Report {
    /// Columns of `SHOW BUDGET`, in their order.
    pub const COLUMNS: [&'static str; 15] = [
        "incarnation",
        "uptime",
        "number",
        "epoch",
        "sequence",
        "phase",
        "floor",
        "limit",
        "held",
        "active",
        "waiting",
        "refused",
        "max_connections",
        "charge",
        "clients",
    ];

    /// The most that the pod could hold by what it says.
    pub fn charge(&self) -> u32 {
        self.limit.max(self.usage.held)
    }

    /// The values of [`Self::COLUMNS`]; `None` is NULL.
    pub fn values(&self) -> [Option<String>; 15] {
        let number = |number: u64| Some(number.to_string());
        [
            Some(format!("{:016x}", self.incarnation)),
            number(self.uptime),
            number(self.number),
            number(self.stamp.epoch),
            number(self.stamp.sequence),
            Some(self.phase.as_str().to_owned()),
            number(self.floor.into()),
            number(self.limit.into()),
            number(self.usage.held.into()),
            number(self.usage.active.into()),
            number(self.usage.waiting.into()),
            number(self.usage.refused),
            self.max_connections.map(|number| number.to_string()),
            number(self.charge().into()),
            self.clients.map(|number| number.to_string()),
        ]
    }

    /// Reads a row of `SHOW BUDGET`; columns that are not known are left out.
    pub fn read<'a>(column: impl Fn(&str) -> Option<&'a str>) -> Result<Self, BadReport> {
        let number = |name| column(name).and_then(|text| text.parse().ok()).ok_or(BadReport(name));
        let count = |name| u32::try_from(number(name)?).map_err(|_| BadReport(name));
        let incarnation = column("incarnation").and_then(|text| u64::from_str_radix(text, 16).ok());
        let phase = column("phase").and_then(|text| Phase::ALL.into_iter().find(|one| one.as_str() == text));
        Ok(Self {
            incarnation: incarnation.ok_or(BadReport("incarnation"))?,
            uptime: number("uptime")?,
            number: number("number")?,
            stamp: Stamp { epoch: number("epoch")?, sequence: number("sequence")? },
            phase: phase.ok_or(BadReport("phase"))?,
            floor: count("floor")?,
            limit: count("limit")?,
            max_connections: match column("max_connections") {
                None => None,
                Some(_) => Some(count("max_connections")?),
            },
            usage: Use {
                held: count("held")?,
                active: count("active")?,
                waiting: count("waiting")?,
                refused: number("refused")?,
            },
            clients: match column("clients") {
                None => None,
                Some(_) => Some(count("clients")?),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_read_as_on_the_console() {
        assert_eq!(Command::Claim { epoch: 7 }.to_string(), "CLAIM EPOCH 7");
        let stamp = Stamp { epoch: 7, sequence: 2 };
        let limit = Command::Limit { stamp, limit: 20, budget: 77, max_connections: 100 };
        assert_eq!(limit.to_string(), "LIMIT 20 OF 77 EPOCH 7 SEQUENCE 2 MAX_CONNECTIONS 100");
    }

    #[test]
    fn a_report_survives_the_console() {
        let report = Report {
            incarnation: 0xfeed_0000_0000_0001,
            uptime: 4200,
            number: 3,
            stamp: Stamp { epoch: 1, sequence: 9 },
            phase: Phase::Serving,
            floor: 1,
            limit: 20,
            max_connections: None,
            usage: Use { held: 21, active: 5, waiting: 2, refused: 1 },
            clients: Some(40),
        };
        let values = report.values();
        let column = |name: &str| {
            let index = Report::COLUMNS.iter().position(|column| *column == name)?;
            values[index].as_deref()
        };
        assert_eq!(Report::read(column), Ok(report));
        assert_eq!(column("charge"), Some("21"));
        let older = Report::read(|name| column(name).filter(|_| name != "clients"));
        assert_eq!(older, Ok(Report { clients: None, ..report }), "an older pod does not say it");
        assert_eq!(Report::read(|name| column(name).filter(|_| name != "held")), Err(BadReport("held")));
    }
}
