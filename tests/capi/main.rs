//! The C interface, called as C calls it.
#![cfg(feature = "capi")]

mod common;
mod examples;
mod graphs;
mod header;
mod layers;
mod plans;
mod soak;
mod wrong_graphs;
mod wrong_numbers;
mod wrong_pointers;
