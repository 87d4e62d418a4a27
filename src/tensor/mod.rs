//! NHWC images in memory: shapes, layouts, views, windows, clamps, buffers.

mod batch;
pub(crate) mod buffer;
mod clamp;
pub(crate) mod form;
mod image;
mod layout;
mod shape;
pub(crate) mod stored;
mod transpose;
mod view;
mod window;

pub use batch::{Batch, BatchMut};
pub use buffer::AlignedBuffer;
pub use clamp::Clamp;
pub(crate) use image::Image;
pub use layout::Layout;
pub use shape::Shape;
pub(crate) use transpose::{Transposition, transpose, transpose_block};
pub use view::{View, ViewMut};
pub use window::{Padding, Window};
