//! Parts of an operator's output: for callers that share one operator among threads, and as the calls of a plan.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::ops::Range;

use super::epilogue::Epilogue;
use crate::error::{Error, Result};
use crate::tensor::{Clamp, Image, Shape, View, ViewMut, Window};

/// Some rows and channels of an operator's output.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// At the first channel of `inputs` of the first row that is there.
    pub input: Image,
    /// Rows and columns of it.
    pub input_size: (usize, usize),
    /// Rows of the first window that are missing above.
    pub missing: usize,
    /// At the first channel of `outputs` of the first row to compute.
    pub output: Image,
    /// Rows and columns of it.
    pub output_size: (usize, usize),
    /// What is added before the clamp, where there is one; of the output's size.
    pub residual: Image,
    /// Input channels to read: all of them, unless the operator continues sums.
    pub inputs: Range<usize>,
    /// Output channels to compute.
    pub outputs: Range<usize>,
    pub clamp: Clamp,
}

/// Some rows and some channels of an operator's output, for callers that share one operator among threads.
///
/// ```
/// use sepconv::ops::{Part, Pointwise, PointwiseParams};
/// use sepconv::{Epilogue, Isa, Layout, Shape, View, ViewMut};
///
/// let params = PointwiseParams::new(3, 100);
/// let op = &Pointwise::new(Isa::selected()?.kernels()?, params, 4, &[0.5; 100 * 3], &[0.25; 100])?;
/// let (input, mut output) = ([1.0; 2 * 2 * 3], [0.0; 2 * 2 * 100]);
/// let (input, whole) = (View::tight(&input, 2, 2, 3)?, op.output(Shape::new(2, 2, 3))?);
/// // Two threads, each with some of the channels of every pixel.
/// let (first, cut) = (output.as_mut_ptr(), op.channel_step());
/// let parts = [0..cut, cut..100].map(|channels| Part::channels(channels, whole));
/// std::thread::scope(|scope| {
///     for part in &parts {
///         let layout = Layout { channels: part.channels.len(), ..Layout::tight(2, 2, 100) };
///         // SAFETY: the channels belong to `output`, which nothing else uses until the threads have ended.
///         let view = unsafe { ViewMut::from_raw(first.wrapping_add(part.channels.start), layout) }?;
///         scope.spawn(move || op.run_part(part, input, Epilogue::default(), view).unwrap());
///     }
///     sepconv::Result::Ok(())
/// })?;
/// assert_eq!(output, [1.75; 2 * 2 * 100]);
/// // One thread, row by row.
/// for (row, output) in output.chunks_exact_mut(2 * 100).enumerate() {
///     let part = Part::rows(row..row + 1, whole);
///     op.run_part(&part, input, Epilogue::default(), ViewMut::tight(output, 1, 2, 100)?)?;
/// }
/// assert_eq!(Part::all(whole), Part { rows: 0..2, channels: 0..100 });
/// # Ok::<(), sepconv::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Output rows.
    pub rows: Range<usize>,
    /// Output channels: from a multiple of the operator's `channel_step` to another, or to the last channel.
    pub channels: Range<usize>,
}

impl Part {
    /// All of an output of `shape`.
    pub fn all(shape: Shape) -> Self {
        Part { rows: 0..shape.height, channels: 0..shape.channels }
    }

    /// Some `rows` of an output of `shape`, with all channels.
    pub fn rows(rows: Range<usize>, shape: Shape) -> Self {
        Part { rows, ..Part::all(shape) }
    }

    /// Some `channels` of an output of `shape`, with all rows.
    pub fn channels(channels: Range<usize>, shape: Shape) -> Self {
        Part { channels, ..Part::all(shape) }
    }
}

impl Call {
    /// The call that computes `part` from the whole `input`, which holds `inputs` and is at the first of them; `output`,
    /// and the residual, have the size of the part.
    pub fn of(
        window: &Window,
        part: &Part,
        (input, inputs): (View<'_>, Range<usize>),
        epilogue: &Epilogue<'_>,
        output: &mut ViewMut<'_>,
    ) -> Call {
        let (source, target) = (input.layout(), output.layout());
        let strip = window.strip(&part.rows, source.height);
        Call {
            input: input.image().offset(strip.first, 0, 0),
            input_size: (strip.length, source.width),
            missing: strip.missing,
            output: output.image(),
            output_size: (target.height, target.width),
            residual: epilogue.residual.map_or(Image::NONE, |residual| residual.image()),
            inputs,
            outputs: part.channels.clone(),
            clamp: epilogue.clamp,
        }
    }
}

/// Whether `part` of an output of shape `whole` holds any element, with channels cut at multiples of `step`; an error
/// where it is no part, or `output` or the residual have another size.
pub(super) fn check_part(
    what: &str,
    step: usize,
    whole: Shape,
    part: &Part,
    epilogue: &Epilogue<'_>,
    output: &ViewMut<'_>,
) -> Result<bool> {
    let Part { rows, channels } = part;
    let cut = |channel: usize| channel == whole.channels || channel.is_multiple_of(step);
    let rows_inside = rows.start <= rows.end && rows.end <= whole.height;
    let channels_inside = channels.start <= channels.end && channels.end <= whole.channels;
    if !rows_inside || !channels_inside || !cut(channels.start) || !cut(channels.end) {
        let expected = format!("rows and channels of {whole}, the channels cut at multiples of {step}");
        return Err(Error::shape(format!("{what} part"), format!("{part:?}"), expected));
    }
    let shape = Shape { height: rows.len(), width: whole.width, channels: channels.len() };
    output.layout().expect(format_args!("{what} output"), shape)?;
    if let Some(residual) = epilogue.residual {
        residual.layout().expect(format_args!("{what} residual"), shape)?;
    }
    Ok(!shape.is_empty())
}

/// The error for an array whose length is not the product of `shape`, if it is not.
pub(super) fn expect_length(what: &str, got: usize, shape: &[usize]) -> Result<()> {
    let expected = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    if expected == Some(got) {
        return Ok(());
    }
    let product = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
    Err(Error::Length { what: what.into(), got, expected: product })
}

/// Cuts 0..`count` into at most `parts` ranges of nearly equal length whose bounds are multiples of `unit`.
pub(crate) fn cut(count: usize, unit: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let units = count.div_ceil(unit);
    let parts = parts.min(units).max(1);
    // As `units * part / parts`, whose product may be more than fits.
    let bound = move |part: usize| (units / parts * part + units % parts * part / parts) * unit;
    (0..parts).map(move |part| bound(part)..bound(part + 1).min(count))
}
