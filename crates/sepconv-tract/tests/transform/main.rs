//! The transform on small ONNX models.

mod model;
mod patterns;
mod random;
mod sessions;
