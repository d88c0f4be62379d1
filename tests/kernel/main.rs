//! The Linux kernel as judge, in virtual machines.

mod fixtures;
mod lab;
mod mounted;
