//! kiln's promises, one file each.

mod isolation;
