//! kiln turns a Dockerfile into an image: text, then meaning, then a graph, then work, then bytes.
//!
//! This page is the architecture: the layers, what flows through them, and where each thing lives. A module uses modules
//! of lower layers, and in its own layer only those named after the arrow; `tests/it/architecture.rs` holds this table.
//!
//! | layer | module | purpose |
//! |---|---|---|
//! | 5 surfaces | [`cli`] | One file per command: arguments, one [`engine::Engine`] call, rendering. |
//! | 4 operations | [`engine`] | One method per user-visible operation, each with an options struct. |
//! | 3 planning | [`frontend`] | Instructions, build arguments and platform into a build graph and an image config. |
//! | | [`solve`] | Walks the graph: cache look-ups, deduplication, worker threads, event stream. |
//! | | [`exec`] → `solve` | Runs one op: gathers inputs, calls a mechanism, commits the result. |
//! | | [`container`] → `exec` | Containers: made from an image, run, entered, looked into, committed. |
//! | 2 mechanisms | [`cache`] → `layer`, `store` | Cache keys with their recipes, and what they led to. |
//! | | [`runtime`] | One isolated process: namespaces, mounts, ids, seccomp, stdio. |
//! | | [`snapshot`] → `layer`, `store` | Trees of layer stacks, and writable views over them (overlayfs, full copy). |
//! | | [`layer`] | Trees to tar and back: whiteouts, metadata, compression, indexes. |
//! | | [`compare`] → `layer` | What differs between two images: files, packages, config. |
//! | | [`context`] → `layer` | Build context: ignore rules, sorted walk, content digests. |
//! | | [`image`] → `layer`, `store` | An image as a value: assemble, validate, archives. |
//! | | [`registry`] → `store` | Distribution client: references in, blobs out; credentials. |
//! | | [`remote`] → `store` | What is downloaded over HTTP and checked out of git repositories. |
//! | | [`store`] | Content-addressed blobs on disk, tags and indexes in SQLite. |
//! | 1 languages | [`dockerfile`] | Dockerfile text to ast to instructions; word expansion. Pure. |
//! | | [`graph`] | Ops, the graph and their digests. The target for every front end. |
//! | 0 ground | [`oci`] | Spec vocabulary: digests, descriptors, manifest, index, config, platform, reference. |
//! | | [`diagnostic`] | Source texts, spans, diagnostics and their rendering. |
//! | | [`fs`] → `sys` | Files inside a root: confined paths, ownership, xattrs, atomic writes. |
//! | | [`net`] → `sys` | The one tokio runtime and HTTP client, behind blocking calls. |
//! | | [`sys`] | Every system call std lacks, and all `unsafe` in kiln. |
//!
//! ```text
//!  &str ──parse──▶ ast::Dockerfile ──lower──▶ instruction::Dockerfile ──plan──▶ BuildGraph + ImageConfig
//!                  what was written           what it means                     what to do
//!  BuildGraph ──solve──▶ stack of layers ──assemble──▶ Image ──▶ store, archive, registry
//! ```

pub mod cache;
pub mod cli;
pub mod compare;
pub mod container;
pub mod context;
pub mod diagnostic;
pub mod dockerfile;
pub mod engine;
pub mod exec;
pub mod frontend;
pub mod fs;
pub mod graph;
pub mod image;
pub mod layer;
pub mod net;
pub mod oci;
pub mod registry;
pub mod remote;
pub mod runtime;
pub mod snapshot;
pub mod solve;
pub mod store;
pub mod sys;
