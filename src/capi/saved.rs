//! Plans as bytes.

use std::ffi::{c_char, c_int, c_void};

use super::handle;
use super::library;
use super::plan::{held, sepconv_plan};
use super::pointer::{array, null, optional, optional_text, place};
use super::status::{Failure, guard, sepconv_status};
use crate::plan::{LoadOptions, Plan};

/// How to load a plan. A struct of zeros, as a null pointer to one, is the default.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct sepconv_load_options {
    /// The name of the ISA that the plan was saved for; null: see `sepconv_isa_chosen`.
    pub isa: *const c_char,
    /// Not 0: reads all weights once and compares their hash. Damage to them changes results, and no more than that.
    pub verify: c_int,
}

/// Writes a plan as a blob, which `sepconv_plan_load` makes the same plan of, and how many bytes it has. Where `blob` is null
/// and `capacity` is 0, the number alone.
///
/// An error where `capacity` is less than that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_plan_save(
    plan: *const sepconv_plan,
    blob: *mut c_void,
    capacity: usize,
    length: *mut usize,
) -> sepconv_status {
    // SAFETY: by the contract of the interface.
    guard(|| unsafe {
        let (plan, length) = (&handle::get(plan)?.plan, place(length, "length")?);
        let bytes = plan.saved_bytes()?;
        if capacity > 0 || !blob.is_null() {
            if blob.is_null() {
                return Err(null("blob", format_args!("{capacity} bytes")));
            }
            if capacity < bytes {
                let message = format!("blob: got {capacity} bytes, expected at least {bytes}");
                return Err(Failure::new(sepconv_status::Length, message));
            }
            let saved = plan.save()?;
            blob.cast::<u8>().copy_from(saved.as_ptr(), saved.len());
        }
        length.write(bytes);
        Ok(())
    })
}

/// Writes the handle of the plan that `sepconv_plan_save` made `length` bytes at `blob` of: for as many images and threads. A
/// blob that begins at a multiple of `SEPCONV_WORKSPACE_ALIGNMENT` bytes, as a mapped file does, is not copied: it must stay as
/// it is until the plan, and every other made of it by `sepconv_plan_with_batch`, is freed. Of any other blob the weights are
/// copied, and it may be freed.
///
/// `SEPCONV_STATUS_BLOB` where it is damaged; `SEPCONV_STATUS_OTHER_BLOB` where it was saved by another version of the library,
/// for another ISA, for other kernels, or on a machine for which another plan would be made. Whatever the bytes are, nothing
/// outside them is read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sepconv_plan_load(
    blob: *const c_void,
    length: usize,
    options: *const sepconv_load_options,
    plan: *mut *mut sepconv_plan,
) -> sepconv_status {
    // SAFETY: by the contract of the interface; the bytes live as long as the plan that borrows them.
    guard(|| unsafe {
        let plan = place(plan, "plan")?;
        let mut load = LoadOptions::default();
        if let Some(options) = optional(options, "options")? {
            if optional_text(options.isa, "options.isa")?.is_some() {
                load.isa = Some(library::kernels(options.isa)?.isa());
            }
            load.verify = options.verify != 0;
        }
        if blob.is_null() {
            return Err(null("blob", "the bytes of a saved plan"));
        }
        let bytes: &'static [u8] = array(blob.cast::<u8>(), length, "blob")?;
        plan.write(held(Plan::load(bytes, load)?)?);
        Ok(())
    })
}
