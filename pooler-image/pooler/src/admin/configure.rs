//! `CONFIGURE`, `SHOW CONFIGURATION`, and what listeners of the channel `configuration` are told.

use pgpooler_config::Bundle;
use pgpooler_core::wire::backend;

use super::error::AdminError;
use super::reply::Reply;
use super::table::{Cell, Column, Table, cell, text};
use crate::control::Control;
use crate::reload::Loaded;

/// The channel, as in `LISTEN configuration`.
pub(super) const CHANNEL: &str = "configuration";

const COLUMNS: [Column; 4] = [text("hash"), text("source"), text("paused"), text("needs_restart")];

/// What `CONFIGURE` answers.
const OUTCOME: [Column; 3] = [text("hash"), text("changed"), text("needs_restart")];

pub(super) async fn configure(
    control: &dyn Control,
    bundle: Bundle,
    epoch: Option<u64>,
) -> Result<Reply, AdminError> {
    let outcome = control.configure(bundle, epoch).await.map_err(AdminError::Configure)?;
    let row = vec![cell(outcome.hash), list(&outcome.changed), list(&outcome.needs_restart)];
    Ok(Reply::done("CONFIGURE").rows(Table::new(OUTCOME).rows([row])))
}

/// The row of `SHOW CONFIGURATION`.
pub(super) fn table(settings: &Loaded) -> Table {
    Table::new(COLUMNS).rows([row(settings)])
}

fn row(settings: &Loaded) -> Vec<Cell> {
    let paused = if settings.document.paused { "yes" } else { "no" };
    vec![cell(&settings.hash), cell(settings.origin.as_str()), cell(paused), list(&settings.needs_restart)]
}

fn list(names: &[String]) -> Cell {
    cell(names.join(","))
}

/// What a session has been told, and wants to go on being told.
#[derive(Debug, Default)]
pub(super) struct Follower {
    last: Option<Vec<Cell>>,
}

impl Follower {
    /// What was told last counts no more.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// Appends a notification, if another configuration is in force than was told last.
    pub(super) fn tell(&mut self, settings: &Loaded, process_id: i32, out: &mut Vec<u8>) {
        let row = row(settings);
        if self.last.as_ref() == Some(&row) {
            return;
        }
        let pairs = COLUMNS.iter().zip(&row);
        let known = pairs.filter_map(|(column, value)| {
            let value = value.as_deref().filter(|value| !value.is_empty())?;
            Some(format!("{}={value}", column.name))
        });
        backend::notification_response(out, process_id, CHANNEL, known.collect::<Vec<_>>().join(" "));
        self.last = Some(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reload::Origin;

    #[test]
    fn a_follower_is_told_at_once_and_then_of_every_other_configuration() {
        let mut follower = Follower::default();
        let mut tells = |settings: &Loaded| {
            let mut out = Vec::new();
            follower.tell(settings, 1, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        let first = Loaded { hash: "c0ffee".into(), ..Loaded::default() };
        assert!(tells(&first).contains("hash=c0ffee source=files paused=no\0"));
        assert_eq!(tells(&first), "");
        let pushed = Loaded { origin: Origin::Pushed, needs_restart: vec!["workers".into()], ..first };
        assert!(tells(&pushed).contains("source=pushed paused=no needs_restart=workers\0"));
    }
}
