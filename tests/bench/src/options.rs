//! The command line.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};

use crate::peers::{Kind, Peer, Program};

/// pgpooler beside PgBouncer and Odyssey, in one run on one PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "pgpooler-bench", version)]
pub(crate) struct Options {
    /// What to measure; all of it unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Group>,
    /// Rounds; each visits every peer in every cell. A published page needs five.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Whom to measure.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "direct,pgbouncer,odyssey,floor,pgpooler"
    )]
    peers: Vec<PeerName>,
    /// Clients of the cost cells.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256,1000")]
    pub(crate) clients: Vec<usize>,
    /// Event loops of pgpooler and workers of Odyssey; PgBouncer has one.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Short cells, for trying the bench itself.
    #[arg(long)]
    pub(crate) quick: bool,
    #[command(flatten)]
    programs: Programs,
    /// What becomes of the figures.
    #[command(flatten)]
    pub(crate) page: Page,
    /// Is the floor: port, port of the server, server connections.
    #[arg(long, num_args = 3, hide = true)]
    pub(crate) floor: Option<Vec<u16>>,
}

/// Where the programs are.
#[derive(Debug, clap::Args)]
struct Programs {
    /// pgpooler's program; several as NAME=PATH, to compare builds.
    #[arg(long, value_name = "[NAME=]PATH")]
    pgpooler: Vec<String>,
    /// A Debian root with postgresql-18, pgbouncer and odyssey.
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
    /// PgBouncer's program, instead of the root's.
    #[arg(long, value_name = "PATH")]
    pgbouncer: Option<PathBuf>,
    /// Odyssey's program, instead of the root's.
    #[arg(long, value_name = "PATH")]
    odyssey: Option<PathBuf>,
    /// The folder of initdb and postgres, instead of the root's.
    #[arg(long, value_name = "FOLDER")]
    postgres: Option<PathBuf>,
}

/// What becomes of the figures.
#[derive(Debug, clap::Args)]
pub(crate) struct Page {
    /// Folder for results.json and the plots; the page goes beside it.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Measures nothing and writes the page of the results.json in `--out` anew.
    #[arg(long, requires = "out")]
    pub(crate) render: bool,
    /// State of the repository, for the page.
    #[arg(long, default_value = "", hide = true)]
    pub(crate) commit: String,
    /// What was typed, for the page.
    #[arg(long, default_value = "pgpooler-bench", hide = true)]
    pub(crate) command: String,
}

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Group {
    /// CPU, throughput and latency of `SELECT 1`.
    #[value(alias = "latency")]
    Cost,
    /// The same through TLS.
    Tls,
    /// A connection for each transaction, with and without TLS.
    Connect,
    /// Ten thousand clients at once; a thousand where PostgreSQL takes a hundred.
    Crowd,
    /// Large results and COPY.
    Large,
    /// One loop and two before a server that costs nothing.
    Loops,
    /// System calls per transaction.
    Syscalls,
    /// Memory per client, with and without TLS.
    Memory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PeerName {
    Direct,
    Pgbouncer,
    Odyssey,
    /// No pooler, but the least that a pool on epoll can cost; in cells of `SELECT 1` only.
    Floor,
    Pgpooler,
}

impl Options {
    /// Whether a group was asked for.
    pub(crate) fn wants(&self, group: Group) -> bool {
        self.only.is_empty() || self.only.contains(&group)
    }

    /// PostgreSQL's server program.
    pub(crate) fn postgres(&self) -> Result<Program> {
        match (&self.programs.postgres, &self.programs.root) {
            (Some(folder), _) => Program::unprivileged(&folder.join("postgres")),
            (None, Some(root)) => Program::inside(root, &newest_postgres(root)?),
            (None, None) => anyhow::bail!("--root or --postgres must say where PostgreSQL is"),
        }
    }

    /// The peers, in the order of reports.
    pub(crate) fn peers(&self) -> Result<Vec<Peer>> {
        let mut peers = Vec::new();
        for name in &self.peers {
            peers.extend(self.peer(*name)?);
        }
        ensure!(!peers.is_empty(), "there is nothing to measure");
        for (at, peer) in peers.iter().enumerate() {
            let twice = peers.iter().skip(at + 1).any(|other| other.name == peer.name);
            ensure!(!twice, "two peers are called {}: use --pgpooler NAME=PATH", peer.name);
        }
        Ok(peers)
    }

    fn peer(&self, name: PeerName) -> Result<Vec<Peer>> {
        let one = |name: &str, kind, program, workers| Peer { name: name.to_owned(), kind, program, workers };
        Ok(match name {
            PeerName::Direct => vec![one("direct", Kind::Direct, self.postgres()?, 1)],
            PeerName::Pgbouncer => {
                let program = self.other(self.programs.pgbouncer.as_ref(), "/usr/sbin/pgbouncer")?;
                vec![one("pgbouncer", Kind::PgBouncer, program, 1)]
            }
            PeerName::Odyssey => {
                let program = self.other(self.programs.odyssey.as_ref(), "/usr/bin/odyssey")?;
                vec![one("odyssey", Kind::Odyssey, program, self.workers)]
            }
            PeerName::Floor => {
                let program = Program::plain(&std::env::current_exe().context("our own path")?);
                vec![one("floor", Kind::Floor, program, 1)]
            }
            PeerName::Pgpooler => {
                ensure!(
                    !self.programs.pgpooler.is_empty(),
                    "--pgpooler must say where pgpooler's program is"
                );
                let ours = self
                    .programs
                    .pgpooler
                    .iter()
                    .map(|text| text.split_once('=').unwrap_or(("pgpooler", text)));
                ours.map(|(name, path)| {
                    let path = std::path::absolute(path).context("path of pgpooler")?;
                    ensure!(path.is_file(), "there is no {}", path.display());
                    Ok(one(name, Kind::Pgpooler, Program::plain(&path), self.workers))
                })
                .collect::<Result<_>>()?
            }
        })
    }

    fn other(&self, path: Option<&PathBuf>, inside: &str) -> Result<Program> {
        match (path, &self.programs.root) {
            (Some(path), _) => Program::unprivileged(path),
            (None, Some(root)) => Program::inside(root, inside),
            (None, None) => anyhow::bail!("--root, or a path of its own, must say where {inside} is"),
        }
    }
}

fn newest_postgres(root: &std::path::Path) -> Result<String> {
    let folder = root.join("usr/lib/postgresql");
    let versions = std::fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))?;
    let numbers = versions.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let newest = numbers.max().with_context(|| format!("no version in {}", folder.display()))?;
    Ok(format!("/usr/lib/postgresql/{newest}/bin/postgres"))
}
