//! The program, on kernels that the system's C compiler makes.

use std::path::PathBuf;
use std::process::{Command, Output};

use sepconv_check::{CCase, hash};
use serde_json::Value;

/// A kernel for every case, in which one fault can be planted.
const KERNEL: &str = r#"
#include "sepconv_check.h"
#include <math.h>
#include <stddef.h>

_Static_assert(sizeof(struct sepconv_check_case) == SIZE, "the struct of Rust");
_Static_assert(offsetof(struct sepconv_check_case, output) == SIZE - 8, "the struct of Rust");

#ifndef STEP
#define STEP fmaf(x, w, sum)
#endif
#ifndef RIGHT
#define RIGHT (int64_t)a->width
#endif
#ifndef LAST
#define LAST a->outputs
#endif

int kernel(const struct sepconv_check_case *a) {
    if (a->version != SEPCONV_CHECK_VERSION || a->size != SIZE || a->op != OP) return 1;
    uint64_t inputs = a->inputs / a->groups, outputs = a->outputs / a->groups, taps = a->window[0] * a->window[1];
    for (uint64_t y = 0; y < a->output_height; y++)
    for (uint64_t x = 0; x < a->output_width; x++)
    for (uint64_t j = 0; j < LAST; j++) {
        float sum = a->bias[j];
        for (uint64_t t = 0; t < taps; t++) {
            int64_t row = (int64_t)(y * a->stride[0] + t / a->window[1] * a->dilation[0] - a->padding[0]);
            int64_t column = (int64_t)(x * a->stride[1] + t % a->window[1] * a->dilation[1] - a->padding[2]);
            if (row < 0 || row >= (int64_t)a->height || column < 0 || column >= RIGHT) continue;
            for (uint64_t c = 0; c < inputs; c++) {
                uint64_t at = row * a->input_strides[0] + column * a->input_strides[1]
                    + (j / outputs * inputs + c) * a->input_strides[2];
                float x = a->input[at], w = a->weights[(j * inputs + c) * taps + t];
                sum = STEP;
            }
        }
        if (a->residual)
            sum += a->residual[y * a->residual_strides[0] + x * a->residual_strides[1] + j * a->residual_strides[2]];
        sum = sum < a->clamp_lo ? a->clamp_lo : sum;
        sum = sum > a->clamp_hi ? a->clamp_hi : sum;
        a->output[y * a->output_strides[0] + x * a->output_strides[1] + j * a->output_strides[2]] = sum;
    }
    return 0;
}
"#;

/// Compiles the kernel with these macros into a library of this name.
fn compile(name: &str, op: usize, macros: &[&str]) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (source, library) = (directory.join(format!("{name}.c")), directory.join(format!("{name}.so")));
    std::fs::write(&source, KERNEL).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-ffp-contract=off", "-Wall", "-Werror", "-shared", "-fPIC"]);
    compiler.arg(concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include"));
    compiler.args([format!("-DSIZE={}", size_of::<CCase>()), format!("-DOP={op}")]);
    compiler.args(macros.iter().map(|definition| format!("-D{definition}")));
    let status = compiler.arg(&source).arg("-o").arg(&library).arg("-lm").status().expect("a C compiler");
    assert!(status.success());
    library
}

fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sepconv-check")).args(arguments).output().unwrap()
}

/// Runs it on `kernel` of a library.
fn on(library: &std::path::Path, arguments: &[&str]) -> (i32, Value) {
    let fixed = ["--library", library.to_str().unwrap(), "--symbol", "kernel", "--seed", "1", "--json"];
    let output = program(&[&fixed, arguments].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), serde_json::from_str(&text).unwrap())
}

#[test]
fn kernels_that_are_right() {
    for (code, op) in ["pointwise", "depthwise", "conv"].into_iter().enumerate() {
        let library = compile(&format!("right_{op}"), code, &[]);
        for layout in ["nhwc", "nchw"] {
            let arguments =
                ["--op", op, "--layout", layout, "--rule", "bits", "--cases", "300", "--residual", "--gaps"];
            let (status, result) = on(&library, &arguments);
            assert_eq!(result.to_string(), r#"{"cases":300,"failures":0,"first":null}"#);
            assert_eq!(status, 0);
        }
    }
}

#[test]
fn a_kernel_that_rounds_twice() {
    let library = compile("rounds_twice", 0, &["STEP=sum+x*w"]);
    for (rule, expected) in [("bits", 1), ("chain", 0), ("bound", 0), ("ulp:0", 1), ("ulp:4294967295", 0)] {
        // Magnitudes near zero, where ulps are many, and NaN are not what this is about.
        let (status, result) = on(&library, &["--op", "pointwise", "--rule", rule, "--cases", "200"]);
        assert_eq!((status, result["failures"].as_u64() > Some(0)), (expected, expected == 1), "{rule}: {result}");
    }
}

#[test]
fn a_kernel_with_a_fault_at_the_border() {
    let library = compile("no_right_border", 1, &["RIGHT=(int64_t)a->width+1"]);
    let arguments = ["--op", "depthwise", "--rule", "bound", "--cases", "200", "--windows", "3x3", "--strides", "1x1"];
    let (status, result) = on(&library, &[&arguments[..], &["--dilations", "1x1"]].concat());
    assert_eq!(status, 1, "{result}");
    let case = &result["first"]["case"];
    let size = |name: &str| case[name].as_u64().unwrap();
    assert!(size("height") * size("width") <= 6 && size("inputs") == 1, "{result}");
    assert!(result["first"]["text"].as_str().unwrap().contains("depthwise 3x3 on"), "{result}");
}

#[test]
fn a_kernel_that_writes_past_the_end() {
    let library = compile("past_the_end", 0, &["LAST=a->outputs+1"]);
    let (status, result) = on(&library, &["--op", "pointwise", "--cases", "20", "--rule", "bound"]);
    assert_eq!(status, 1);
    let fault = result["first"]["fault"]["kind"].as_str().unwrap();
    assert!(["stopped", "outside", "wrong"].contains(&fault), "{result}");
    assert_eq!(result["failures"], 20, "{result}");
}

/// The README's.
#[test]
fn the_example() {
    let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("example.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-ffp-contract=off", "-shared", "-fPIC"]);
    compiler.arg(concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include"));
    compiler.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pointwise.c")).arg("-o").arg(&library).arg("-lm");
    assert!(compiler.status().unwrap().success());
    let arguments = ["--op", "pointwise", "--layout", "nhwc", "--strides", "1x1", "--groups", "1", "--rule", "bits"];
    let output = program(
        &[&["--library", library.to_str().unwrap(), "--symbol", "pointwise", "--json"], &arguments[..]].concat(),
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "{\"cases\":1000,\"failures\":0,\"first\":null}\n");
}

#[test]
fn the_filter_and_the_measurement() {
    let library = compile("measured", 0, &[]);
    let arguments = ["--op", "pointwise", "--cases", "5", "--filter", "in 2 groups", "--bench"];
    let (status, result) = on(&library, &arguments);
    assert_eq!((status, &result["cases"]), (0, &5.into()));
    assert!(result["bench"]["ns"].as_u64() > Some(0) && result["bench"]["gflops"].as_f64() > Some(0.0), "{result}");
    let text =
        program(&["--library", library.to_str().unwrap(), "--symbol", "kernel", "--op", "pointwise", "--cases", "7"]);
    assert_eq!(String::from_utf8(text.stdout).unwrap(), "kernel: 7 cases under the rule bits, 0 failed, 0 refused\n");
}

#[test]
fn arguments_that_are_wrong() {
    let library = compile("arguments", 0, &[]);
    let library = library.to_str().unwrap();
    let good = ["--library", library, "--symbol", "kernel", "--op", "pointwise"];
    let table: [(&[&str], &str); 12] = [
        (&[], "--op"),
        (&["--op", "pointwise"], "--library"),
        (&["--library", library, "--op", "pointwise"], "--symbol"),
        (&["--library", "/nonexistent.so", "--symbol", "kernel", "--op", "conv"], "/nonexistent.so"),
        (&["--library", library, "--symbol", "nonesuch", "--op", "conv"], "nonesuch"),
        (&["--library", library, "--symbol", "kernel", "--op", "pool"], "expected pointwise, depthwise or conv"),
        // The kernel refuses what it was not compiled for.
        (&["--library", library, "--symbol", "kernel", "--op", "conv"], "no case was run"),
        (&["--rule", "exact"], "expected bits, chain, ulp:N or bound"),
        (&["--layout", "chwn"], "expected nhwc or nchw"),
        (&["--windows", "3"], "expected 2 sizes"),
        (&["--strides", "0x1"], "sizes of 1 to"),
        (&["--filter", "no such text"], "no case was run"),
    ];
    for (i, (arguments, text)) in table.into_iter().enumerate() {
        let arguments = if i < 7 { arguments.to_vec() } else { [&good, arguments].concat() };
        let output = program(&arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(text), "{arguments:?}: {error}");
    }
}

#[test]
fn vectors_for_other_languages() {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("vectors.json");
    let arguments = ["--vectors", path.to_str().unwrap(), "--op", "conv", "--seed", "5", "--cases", "40", "--residual"];
    assert!(program(&arguments).status.success());
    let text = std::fs::read_to_string(&path).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 40);
    let mut exempt = 0;
    for vector in vectors {
        for name in
            ["input", "weights", "bias", "residual", "output"].into_iter().filter(|name| !vector[name].is_null())
        {
            let bits = vector[name]["bits"].as_array().unwrap();
            let values: Vec<f32> = bits.iter().map(|bits| f32::from_bits(bits.as_u64().unwrap() as u32)).collect();
            assert_eq!(vector[name]["hash"], format!("{:016x}", hash(&values)));
        }
        let sizes: u64 = vector["output_size"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).product();
        let output = vector["output"]["bits"].as_array().unwrap();
        assert_eq!(output.len() as u64, sizes);
        // The fused chain keeps the bound that stands beside it.
        let [value, bound] = ["value", "bound"].map(|name| vector["exact"][name].as_array().unwrap());
        assert!(value.len() == output.len() && bound.len() == output.len());
        for ((got, value), bound) in output.iter().zip(value).zip(bound) {
            let got = f64::from(f32::from_bits(got.as_u64().unwrap() as u32));
            match (value.as_f64(), bound.as_f64()) {
                (Some(value), Some(bound)) => assert!(bound > 0.0 && (got - value).abs() <= bound, "{vector}"),
                (None, None) => exempt += 1,
                _ => panic!("{vector}"),
            }
        }
    }
    assert!(exempt > 0, "no output of NaN or infinities");
    assert!(vectors.iter().any(|vector| !vector["residual"].is_null()));
    assert!(program(&arguments).status.success());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}
