//! Every kernel of every ISA, shipped and trial, on the testing kit: `sepconv-check` has the cases, the guarded memory, the
//! oracle, the rules and the shrinking; here are the loops over kernels, and the cases that these need beyond the kit's.
//!
//! A kernel that touches a guard page ends the test with it. `SEPCONV_ISOLATED=1` runs each case in a process of its own
//! instead (Linux), so that such a case is shrunk and told like any other.

#[path = "../common/mod.rs"]
mod common;

#[macro_use]
mod subject;
mod conv;
mod depthwise;
mod pointwise;
#[cfg(feature = "reference")]
mod reference;

/// No list leaves a kernel out, shipped or trial.
#[test]
fn every_kernel_is_reached() {
    for kernels in common::every_isa() {
        let lists: [subject::Of; 3] = [pointwise::kernels, depthwise::kernels, conv::kernels];
        let subjects: Vec<_> = lists.iter().flat_map(|of| of(kernels)).map(|kernel| kernel.name).collect();
        let pointwise = kernels.pointwise().iter().map(|kernel| kernel.name());
        let others = kernels.depthwise().iter().map(|kernel| kernel.name());
        for name in pointwise.chain(others).chain(kernels.conv().iter().map(|kernel| kernel.name())) {
            assert!(subjects.iter().any(|subject| subject == name), "{name} is not tested on {}", kernels.isa());
        }
    }
}
