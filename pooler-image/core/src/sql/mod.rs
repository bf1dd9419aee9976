//! What a SQL text may leave behind in the session that runs it.
//!
//! [`scan`] cuts the body of a Query or Parse message into statements as PostgreSQL's own lexer does, and says of each
//! what it does to the session where that can be said exactly ([`Effect`]: SET, PREPARE, COMMIT ...), and what it may do
//! besides ([`Marks`]). A mark is a suspicion: [`Marks::PROBE`] says that only the server can tell, for example since
//! a function is called that is not built in. The reverse is what others rely on: a text without a mark leaves
//! nothing behind, but through what is not written in it, such as a function inside of a view, an operator, a cast, or
//! `table.function`.
//!
//! It reads every text that a client sends: one pass, and no allocation for a text without an [`Effect`] to tell.

mod calls;
mod cursor;
mod functions;
mod keywords;
mod lexer;
mod lists;
mod literal;
mod marks;
mod script;
mod set;
mod statements;
mod walk;

#[cfg(test)]
mod tests;

pub use lexer::Strings;
pub use marks::Marks;
pub use script::{Effect, Name, Script, Statement};

use statements::Statements;

/// Whether a text has no statement: nothing but white space, semicolons and comments.
pub fn is_empty(text: &[u8]) -> bool {
    // no string begins in such a text, so how strings are read does not matter
    Statements::new(text, Strings::default()).next().is_none()
}

/// Reads a text, without the zero that ends it in a message.
///
/// Never fails: of a text that PostgreSQL would refuse nothing runs, so whatever is said of it holds.
pub fn scan(text: &[u8], strings: Strings) -> Script {
    let all = Statements::new(text, strings);
    let (mut marks, mut count, mut controls, mut told) = (Marks::NONE, 0_usize, false, false);
    for statement in all.clone() {
        marks |= statement.marks;
        count += 1;
        controls |= statement.effect.is_control();
        told |= statement.effect.is_told();
    }
    if count > 1 && controls {
        marks |= Marks::CONTROL;
    }
    Script { marks, statements: if told { all.collect() } else { Vec::new() } }
}
