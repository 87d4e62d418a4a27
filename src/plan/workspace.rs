//! The memory that a run works in.

use alloc::format;
use core::fmt;

use crate::error::{Error, Result};
use crate::tensor::AlignedBuffer;

/// The memory that one run of a plan works in: its own, or the caller's.
///
/// ```
/// use sepconv::graph::Builder;
/// use sepconv::parallel::Serial;
/// use sepconv::weights::HashWeights;
/// use sepconv::{AlignedBuffer, Options, Plan, Shape, Window, Workspace};
///
/// let mut net = Builder::new();
/// let image = net.input("image", Shape::new(4, 4, 1))?;
/// let x = net.max_pool("max", image, Window::square(2).stride(2))?;
/// let x = net.global_average_pool("mean", x)?;
/// let plan = Plan::new(&net.build(&[x])?, &HashWeights, &Serial, Options::default())?;
///
/// let (image, mut mean) = ([2.0; 16], [0.0]);
/// let mut memory = AlignedBuffer::zeroed(plan.workspace_len())?;
/// plan.run(&Serial, &mut Workspace::over(&mut memory), &image[..], &mut mean[..])?;
/// assert_eq!(mean, [2.0]);
/// // Too little of it.
/// let mut workspace = Workspace::over(&mut memory[1..]);
/// assert!(plan.run(&Serial, &mut workspace, &image[..], &mut mean[..]).is_err());
/// # Ok::<(), sepconv::Error>(())
/// ```
pub struct Workspace<'a>(Memory<'a>);

enum Memory<'a> {
    Owned(AlignedBuffer),
    Borrowed(&'a mut [f32]),
}

impl<'a> Workspace<'a> {
    /// A workspace in memory of the caller's: at least [`Plan::workspace_len`](super::Plan::workspace_len) elements, best
    /// from the start of a cache line on. Its contents do not matter.
    pub fn over(memory: &'a mut [f32]) -> Self {
        Workspace(Memory::Borrowed(memory))
    }

    pub(super) fn zeroed(length: usize) -> Result<Workspace<'static>> {
        let buffer = AlignedBuffer::zeroed(length).map_err(|_| Error::memory("workspace", length))?;
        Ok(Workspace(Memory::Owned(buffer)))
    }

    /// The elements; an error where they are fewer than `length`.
    pub(super) fn elements(&mut self, length: usize) -> Result<&mut [f32]> {
        let elements = match &mut self.0 {
            Memory::Owned(buffer) => &mut buffer[..],
            Memory::Borrowed(memory) => memory,
        };
        let got = elements.len();
        elements.get_mut(..length).ok_or_else(|| Error::Length {
            what: "workspace".into(),
            got,
            expected: format!("{length} (make it with `Plan::workspace`)"),
        })
    }
}

impl fmt::Debug for Workspace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = match &self.0 {
            Memory::Owned(buffer) => buffer.len(),
            Memory::Borrowed(memory) => memory.len(),
        };
        write!(f, "Workspace({length} elements)")
    }
}
