//! The crate's own oracle on the kit, which has another: both are the same chain, to the bit.

use sepconv::{Isa, reference};
use sepconv_check::{Group, Op, Rule, Scope};

use crate::subject::{Kernel, clamp, window};

fn subject(op: Op) -> Kernel {
    let scope = Scope { groups: vec![1], residual: true, input_lo: op == Op::Depthwise, ..Scope::of(op) };
    let mut kernel = Kernel::new((format!("reference of {op}"), Isa::Portable, false), scope, move |given, output| {
        let case = given.case;
        let (parameters, residual, clamp) = ((given.weights, given.bias), given.residual(), clamp(case));
        let (shape, window) = (given.input()?.layout().shape(), window(case));
        output.copy_from_slice(&match op {
            Op::Depthwise => {
                reference::depthwise(given.input, shape, &window, case.input_lo, parameters, residual, clamp)
            }
            Op::Pointwise if case.stride == (1, 1) => {
                let size = (shape.pixels(), case.inputs, case.outputs);
                reference::pointwise(given.input, size, parameters, residual, clamp)
            }
            _ => reference::conv(given.input, shape, &window, case.outputs, parameters, residual, clamp),
        });
        Ok(())
    });
    kernel.rule = Rule::Bits;
    kernel
}

#[test]
fn the_reference_is_the_fused_chain() {
    for kernel in Op::ALL.map(subject) {
        for group in Group::ALL.into_iter().filter(|group| *group != Group::Strided) {
            kernel.assert(group.cases(&kernel.scope, 1));
        }
    }
}
