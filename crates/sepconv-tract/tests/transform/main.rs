//! The transform on small ONNX models.

mod model;
mod patterns;
mod sessions;
