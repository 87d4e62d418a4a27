#![doc = include_str!("../README.md")]

mod c_abi;
mod case;
mod cases;
mod check;
mod conformance;
mod failure;
mod guard;
mod image;
mod isolated;
mod numbers;
pub mod oracle;
mod rule;
mod scope;
mod shrink;
#[cfg(feature = "proptest")]
mod strategy;
mod subject;

pub use c_abi::{CCase, CFunction, CKernel, VERSION};
pub use case::{Case, Clamp, Op, Operands, Padding};
pub use cases::{Cases, Group};
pub use check::{Outcome, assert_case, check, check_shrunk};
pub use conformance::{assert_group, run_group};
pub use failure::{Failure, Fault};
pub use guard::{Guard, Guarded, gather, is_canary, spread};
pub use image::{Gap, Gaps, Image, Layout};
pub use isolated::Isolated;
pub use numbers::{Kind, Numbers, hash};
pub use rule::{Mismatch, Rule, assert_same, same, ulps};
pub use scope::{Scope, Tile};
pub use shrink::shrink;
#[cfg(feature = "proptest")]
pub use strategy::any_case;
pub use subject::{Subject, Within, refuse};
