//! Dockerfile text to values.

pub mod instruction;
