//! The thread crew of sepconv, `src/parallel/crew.rs` itself, with loom's atomics and a model of rayon's pool: its tests
//! try every order of steps, and every value that a weakly ordered load may see, up to a number of preemptions.

#[allow(clippy::new_without_default, reason = "in the crate itself it is private")]
#[path = "../../../src/parallel/crew.rs"]
pub mod crew;
pub mod sync;

#[cfg(test)]
mod tests;
