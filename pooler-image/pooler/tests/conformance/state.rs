//! Session state: traps 41 to 45. What a client sets is its own, for as long as it lives and no longer.

mod leave;
mod notify;
mod settings;
mod settings_elsewhere;
mod startup_values;
mod things;
