//! The C interface; `include/sepconv.h` is made from it, and says everything that C callers need.
//!
//! # Safety
//! What every function here asks of its caller: a pointer is null where the function allows it, or else points to as many
//! elements as the argument beside it says, of its type, which nothing writes meanwhile, or, where the function writes,
//! nothing else uses; text ends in NUL; a handle is one that the library gave and that was not freed. Null and misaligned
//! pointers, sizes that do not fit, and handles of another kind are found, and give a status; a handle that was freed is
//! found by luck at best.
#![allow(non_camel_case_types, reason = "types have the names that C callers see")]
#![allow(clippy::missing_safety_doc, reason = "the contract is the module's")]

pub mod builder;
pub mod graph;
mod handle;
pub mod layers;
pub mod library;
pub mod nodes;
pub mod parameters;
pub mod plan;
mod pointer;
pub mod saved;
pub mod status;
pub mod threads;
pub mod types;
