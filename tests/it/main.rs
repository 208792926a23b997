//! One file per promise to users.

mod architecture;
mod archives;
mod args;
mod build;
mod cache;
mod check;
mod contexts;
mod copy;
mod dockerignore;
mod errors;
mod goldens;
mod grammar;
mod images;
mod interrupt;
mod isolation;
mod lint;
mod multistage;
mod output;
mod progress;
mod push_pull;
mod registry_faults;
mod rootless;
mod run;
mod snapshots;
mod store;
mod support;
