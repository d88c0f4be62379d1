//! The Linux kernel as judge, in virtual machines.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod asked;
mod cluster;
mod contents;
mod corosync;
mod crash;
mod debugged;
mod defragged;
mod edited;
mod filled;
mod fixtures;
mod gate;
mod grown;
mod interrupted;
mod lab;
mod lock;
mod mounted;
mod names;
mod recovery;
mod refusals;
mod refused;
mod repairs;
mod shrunk;
mod story;
mod switched;
mod volume;
