//! Kernels that are C functions; `include/sepconv_check.h` has the same in C.

use std::ffi::c_int;
use std::ptr;

use crate::{Case, Image, Layout, Op, Scope, Subject, refuse};

/// The version of [`CCase`].
pub const VERSION: u32 = 1;

/// One call, as a C function gets it: `struct sepconv_check_case`. Sizes and strides count elements; pairs are rows, then
/// columns; strides are row, pixel, channel.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CCase {
    /// [`VERSION`].
    pub version: u32,
    /// Bytes of this struct.
    pub size: u32,
    /// 0 pointwise, 1 depthwise, 2 dense.
    pub op: u32,
    /// 0 NHWC, 1 NCHW.
    pub layout: u32,
    /// Input rows.
    pub height: u64,
    /// Input pixels in a row.
    pub width: u64,
    /// Input channels.
    pub inputs: u64,
    /// Output channels.
    pub outputs: u64,
    /// Groups of channels.
    pub groups: u64,
    /// Taps.
    pub window: [u64; 2],
    /// Input pixels from one window to the next.
    pub stride: [u64; 2],
    /// Input pixels from one tap to the next.
    pub dilation: [u64; 2],
    /// Missing pixels: top, bottom, left, right.
    pub padding: [u64; 4],
    /// Output rows.
    pub output_height: u64,
    /// Output pixels in a row.
    pub output_width: u64,
    /// Of the input.
    pub input_strides: [u64; 3],
    /// Of the output.
    pub output_strides: [u64; 3],
    /// Of the residual.
    pub residual_strides: [u64; 3],
    /// Lower bound of each input; −∞ for none.
    pub input_lo: f32,
    /// Lower bound of each output; −∞ for none.
    pub clamp_lo: f32,
    /// Upper bound of each output; +∞ for none.
    pub clamp_hi: f32,
    /// 0.
    pub reserved: u32,
    /// The input.
    pub input: *const f32,
    /// O, I, kh, kw, where I is inputs / groups.
    pub weights: *const f32,
    /// `outputs`.
    pub bias: *const f32,
    /// Null for none.
    pub residual: *const f32,
    /// The output.
    pub output: *mut f32,
}

/// Computes a case and returns 0; any other status says that it does not take such a case.
pub type CFunction = unsafe extern "C" fn(*const CCase) -> c_int;

/// A C function under test.
#[derive(Debug, Clone)]
pub struct CKernel {
    function: CFunction,
    scope: Scope,
}

impl CKernel {
    /// A kernel that is asked the cases of `scope`.
    ///
    /// # Safety
    /// `function` may be called as long as this lives, on any thread. That it keeps to its buffers is what the check is
    /// for: where it may not, wrap the kernel in [`Isolated`](crate::Isolated).
    pub unsafe fn new(function: CFunction, scope: Scope) -> Self {
        CKernel { function, scope }
    }
}

impl Subject for CKernel {
    fn run(&self, case: &Case, input: &[f32], weights: &[f32], bias: &[f32], output: &mut [f32]) {
        self.run_with(case, input, weights, bias, None, output);
    }

    fn run_with(
        &self,
        case: &Case,
        input: &[f32],
        weights: &[f32],
        bias: &[f32],
        residual: Option<&[f32]>,
        output: &mut [f32],
    ) {
        let pair = |(rows, columns): (usize, usize)| [rows as u64, columns as u64];
        let strides = |image: Image| [image.row_stride, image.pixel_stride, image.channel_stride].map(|x| x as u64);
        let target = case.output();
        let call = CCase {
            version: VERSION,
            size: size_of::<CCase>() as u32,
            op: match case.op {
                Op::Pointwise => 0,
                Op::Depthwise => 1,
                Op::Conv => 2,
            },
            layout: match case.layout {
                Layout::Nhwc => 0,
                Layout::Nchw => 1,
            },
            height: case.height as u64,
            width: case.width as u64,
            inputs: case.inputs as u64,
            outputs: case.outputs as u64,
            groups: case.groups as u64,
            window: pair(case.window),
            stride: pair(case.stride),
            dilation: pair(case.dilation),
            padding: [case.padding.top, case.padding.bottom, case.padding.left, case.padding.right].map(|x| x as u64),
            output_height: target.height as u64,
            output_width: target.width as u64,
            input_strides: strides(case.input()),
            output_strides: strides(target),
            residual_strides: strides(case.residual()),
            input_lo: case.input_lo.unwrap_or(f32::NEG_INFINITY),
            clamp_lo: case.clamp.lo,
            clamp_hi: case.clamp.hi,
            reserved: 0,
            input: input.as_ptr(),
            weights: weights.as_ptr(),
            bias: bias.as_ptr(),
            residual: residual.map_or(ptr::null(), <[f32]>::as_ptr),
            output: output.as_mut_ptr(),
        };
        // SAFETY: callable by the contract of `new`; the struct and the buffers that it points to outlive the call.
        if unsafe { (self.function)(&call) } != 0 {
            refuse();
        }
    }

    fn scope(&self) -> Scope {
        self.scope.clone()
    }
}
