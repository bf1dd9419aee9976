//! Errors: what an error skips and undoes, and how it is told in the client's own words.

use crate::session::edits::Edits;
use crate::session::exchange::{Exchange, ServerFault};
use crate::session::pipeline::Owed;
use crate::session::probe::Outcome;
use crate::session::statements::looks_like_ours;
use crate::session::undo::Undo;
use crate::sql::Effect;
use crate::wire::ErrorFields;
use crate::wire::backend;
use crate::wire::backend as tag;
use crate::wire::error_response::field;

impl Exchange<'_> {
    pub(super) fn server_error(&mut self, body: &[u8]) -> Result<bool, ServerFault> {
        self.server.tally.errors += 1;
        let unexpected = ServerFault::Unexpected { tag: tag::ERROR_RESPONSE };
        let fields = ErrorFields::parse(body).map_err(|_| unexpected.clone())?;
        if fields.is_fatal() || matches!(self.server.pipeline.front(), Some(Owed::Replay)) {
            return Err(self.server.fault(body));
        }
        match self.server.pipeline.front_mut() {
            None => return Err(unexpected),
            Some(Owed::Probe(findings)) => {
                findings.outcome = Outcome::Failed;
                return Ok(false);
            }
            Some(Owed::Try(_)) => {
                self.batch_failed(&fields);
                return Ok(false);
            }
            Some(Owed::Seal) => return Ok(false),
            _ => {}
        }
        self.server.state.follow.failed();
        match self.server.pipeline.front() {
            // ReadyForQuery follows
            Some(Owed::FunctionCall | Owed::Sync) => Ok(true),
            Some(Owed::Query(_, script)) => Ok(script.is_none() || self.script_failed(&fields)),
            _ => Ok(self.batch_failed(&fields)),
        }
    }

    /// True: the server's message goes to the client as it is.
    fn script_failed(&mut self, fields: &ErrorFields<'_>) -> bool {
        let Some(Owed::Query(_, script)) = self.server.pipeline.front_mut() else { return true };
        let Some(script) = script.take() else { return true };
        let refused = script.refusal().cloned();
        let changed = refused.is_some() || !script.edits().is_empty();
        if let Some(error) = refused {
            self.to_client.own(|out| error.encode(out));
        } else if changed {
            let edits = script.edits();
            self.to_client.own(|out| put_back(fields, edits, out));
        }
        self.undo_all(script.into_undo());
        !changed
    }

    fn batch_failed(&mut self, fields: &ErrorFields<'_>) -> bool {
        let Some(failed) = self.server.pipeline.pop() else { return true };
        let passes = match &failed {
            Owed::Bind(Some(name)) | Owed::Describe(Some(name)) => {
                self.to_client.own(|out| put_name_back(fields, name, out));
                false
            }
            Owed::Duplicate(name) => {
                self.to_client.own(|out| put_name_back(fields, name, out));
                false
            }
            Owed::Refused(error) => {
                self.to_client.own(|out| error.encode(out));
                false
            }
            Owed::PrepareToDescribe(_, parameters) if !is_aborted(fields) => {
                self.to_client.own(|out| backend::parameter_description(out, parameters));
                true
            }
            Owed::Execute(Some(act)) => match &act.effect {
                Effect::Execute { name } | Effect::Deallocate { name } | Effect::Prepare { name } => {
                    self.to_client.own(|out| put_name_back(fields, &name.text, out));
                    false
                }
                _ => true,
            },
            _ => true,
        };
        // what was sent last is undone first
        self.skip();
        self.undo_failed(failed);
        passes
    }

    fn undo_failed(&mut self, failed: Owed) {
        match failed {
            // a failed Parse leaves no unnamed statement
            Owed::Parse(Undo::Unnamed { .. }) => {
                self.unnamed_are(Undo::Unnamed { client: None, server: None });
            }
            Owed::Prepare(Undo::Unnamed { client, .. }) => {
                self.unnamed_are(Undo::Unnamed { client, server: None });
            }
            failed => self.undo_all(failed.into_undo()),
        }
    }
}

/// `in_failed_sql_transaction`
fn is_aborted(fields: &ErrorFields<'_>) -> bool {
    fields.field(field::CODE) == Some(b"25P02")
}

/// The server names a statement as we called it; the client knows it by its own name.
fn put_name_back(fields: &ErrorFields<'_>, name: &[u8], out: &mut Vec<u8>) {
    let message = fields.field(field::MESSAGE).unwrap_or_default();
    // with a space behind it, it is a name that the client took for one of ours
    let is_ours = |ours: &[u8]| looks_like_ours(ours.strip_suffix(b" ").unwrap_or(ours));
    match quoted(message).filter(|(_, ours, _)| is_ours(ours)) {
        Some((before, _, behind)) => fields.rewrite(field::MESSAGE, &[before, name, behind].concat(), out),
        None => fields.rewrite(field::MESSAGE, message, out),
    }
}

/// Names and positions as in the client's own text.
fn put_back(fields: &ErrorFields<'_>, edits: &Edits, out: &mut Vec<u8>) {
    let message = fields.field(field::MESSAGE).unwrap_or_default();
    let named = quoted(message).and_then(|(before, ours, behind)| {
        let name = edits.name_behind(ours)?;
        Some([before, name, behind].concat())
    });
    if let Some(message) = named {
        return fields.rewrite(field::MESSAGE, &message, out);
    }
    let position =
        fields.field(field::POSITION).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    match position {
        Some(position) => {
            fields.rewrite(field::POSITION, edits.position(position).to_string().as_bytes(), out);
        }
        None => fields.rewrite(field::MESSAGE, message, out),
    }
}

/// What stands before, in and behind the first and last quotes.
fn quoted(message: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let first = message.iter().position(|byte| *byte == b'"')? + 1;
    let last = message.iter().rposition(|byte| *byte == b'"').filter(|last| *last >= first)?;
    Some((message.get(..first)?, message.get(first..last)?, message.get(last..)?))
}
