//! The journal of a slot as it is written: consecutive transactions in a running log.
//!
//! [`Log`] appends, checkpoints and closes; [`Transaction`] is what is appended. Reading a log
//! after a crash is [`crate::replay`].

mod log;
mod transaction;

pub use log::Log;
pub use transaction::Transaction;
