//! Cases and failures as JSON.

use sepconv_check::{Case, Failure, Fault, Gap, Guard};
use serde_json::{Value, json};

fn bits(value: f32) -> String {
    format!("{:#010x}", value.to_bits())
}

/// A float, or a text where JSON has no number for it.
fn number(value: f32) -> Value {
    if value.is_finite() { json!(value) } else { json!(value.to_string()) }
}

/// Every parameter; pairs are rows, then columns.
pub fn case(case: &Case) -> Value {
    let gap = |gap: Gap| json!([gap.inner, gap.outer]);
    let padding = case.padding;
    json!({
        "op": case.op.to_string(),
        "height": case.height,
        "width": case.width,
        "inputs": case.inputs,
        "outputs": case.outputs,
        "groups": case.groups,
        "window": [case.window.0, case.window.1],
        "stride": [case.stride.0, case.stride.1],
        "dilation": [case.dilation.0, case.dilation.1],
        "padding": [padding.top, padding.bottom, padding.left, padding.right],
        "residual": case.residual,
        "input_lo": case.input_lo.map(number),
        "clamp": [number(case.clamp.lo), number(case.clamp.hi)],
        "layout": case.layout.to_string(),
        "gaps": { "input": gap(case.gaps.input), "output": gap(case.gaps.output), "residual": gap(case.gaps.residual) },
        "guard": if case.guard == Guard::Before { "before" } else { "after" },
        "shift": case.shift,
        "numbers": case.kind.name(),
        "seed": case.seed,
    })
}

/// The case, what is wrong with it, and both in a person's words.
pub fn failure(failure: &Failure) -> Value {
    let fault = match &failure.fault {
        Fault::Wrong(wrong) => {
            let (row, column, channel) = failure.case.output().position(wrong.index);
            json!({
                "kind": "wrong",
                "index": wrong.index,
                "at": [row, column, channel],
                "got": number(wrong.got),
                "got_bits": bits(wrong.got),
                "expected": number(wrong.expected),
                "expected_bits": bits(wrong.expected),
                "ulps": wrong.ulps,
                "bound": wrong.bound,
                "count": wrong.count,
                "total": wrong.total,
            })
        }
        Fault::Unwritten { index, count, total } => {
            json!({ "kind": "unwritten", "index": index, "count": count, "total": total })
        }
        Fault::Outside { at } => json!({ "kind": "outside", "at": at }),
        Fault::Changed { buffer, at } => json!({ "kind": "changed", "buffer": buffer, "at": at }),
        Fault::Stopped { why } => json!({ "kind": "stopped", "why": why }),
    };
    json!({ "text": failure.to_string(), "case": case(&failure.case), "fault": fault })
}
