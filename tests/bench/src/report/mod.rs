//! What was measured, for people and for programs.

pub(crate) mod table;
