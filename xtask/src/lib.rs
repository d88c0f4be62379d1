//! What the developers' tasks have in common: see `cargo xtask --help`.
//!
//! The program `xtask` has few dependencies, so that `cargo xtask demo` and `cargo xtask test`
//! start soon. Tasks that need the programs' own code are in `workshop`, which it builds and runs.
#![deny(missing_docs)]

pub mod cargo;
