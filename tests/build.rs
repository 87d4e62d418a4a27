//! The unit tests of what build.rs is made of.
#![cfg(feature = "generated")]

#[allow(dead_code)] // Cargo alone runs all of it.
#[path = "../build/mod.rs"]
mod build;
