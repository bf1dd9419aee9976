//! The pooler and every language's programs, made at the same time.

use std::{
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, anyhow};

use crate::{command, ui};

use super::language::{Language, Ready};

/// What the scenarios run with.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The pooler's program.
    pub(super) pooler: PathBuf,
    languages: Vec<(Language, Result<Ready>)>,
}

impl Prepared {
    /// Cargo compiles the pooler while packages are fetched: one needs the processor, the other the network.
    pub(super) fn new(cache: &Path) -> Result<Self> {
        // one after the other: apt-get locks its database
        let installed: Vec<_> =
            Language::ALL.iter().map(|language| (*language, language.ensure_installed())).collect();
        thread::scope(|scope| {
            let workers: Vec<_> = installed
                .into_iter()
                .map(|(language, installed)| {
                    (language, scope.spawn(move || installed.and_then(|()| told(language, cache))))
                })
                .collect();
            let pooler = compile();
            let languages = workers.into_iter().map(|(language, worker)| {
                (language, worker.join().unwrap_or_else(|_| Err(anyhow!("its preparation panicked"))))
            });
            // all threads are waited for before the pooler's failure is told
            let languages = languages.collect();
            Ok(Self { pooler: pooler?, languages })
        })
    }

    /// A language, or what it lacks.
    pub(super) fn language(&self, language: Language) -> Result<&Ready, &anyhow::Error> {
        let found = self.languages.iter().find(|(known, _)| *known == language);
        found.map_or_else(|| unreachable!("every language is prepared"), |(_, ready)| ready.as_ref())
    }
}

/// Prepares a language, and says so.
pub(super) fn told(language: Language, cache: &Path) -> Result<Ready> {
    let start = Instant::now();
    ui::say(&format!("{}: {}", language.name(), language.what()));
    let ready = language.prepare(cache).with_context(|| format!("cannot prepare {}", language.name()))?;
    ui::say(&format!("{}: ready after {:.0} s", language.name(), start.elapsed().as_secs_f64()));
    Ok(ready)
}

/// Compiles the pooler.
pub(in super::super) fn compile() -> Result<PathBuf> {
    let arguments = ["build", "--locked", "--package=pgpooler", "--message-format=json-render-diagnostics"];
    let programs = command::executables(&mut command::cargo(&arguments))?;
    programs.get("pgpooler").cloned().context("cargo built no pgpooler")
}
