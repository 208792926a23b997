//! One file per promise to users.

mod goldens;
mod grammar;
