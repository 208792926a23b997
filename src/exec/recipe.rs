use serde_json::{Value, json};

use super::change::Change;
use super::run::Process;
use crate::cache::Recipe;
use crate::graph::Op;
use crate::oci::ChainId;
use crate::remote::Commit;

/// What a look-up that found nothing leaves for the execution.
pub enum Ticket {
    /// A process to run.
    Run(Process),
    /// What a change will read and write, and its key.
    Change(Box<Change>),
    /// A file has to be fetched.
    Download,
    /// This commit has to be.
    CheckOut(Commit),
}

/// Version of all recipes. Raising it forgets every cached result: do so when an executed op means something else.
const VERSION: u32 = 5;

/// Returns the recipe of `op` over `base`, reading `sources` besides: everything its result depends on, and nothing
/// else.
pub(super) fn recipe(op: &Op, base: Option<ChainId>, sources: Value) -> Recipe {
    Recipe::new(json!({ "version": VERSION, "op": op, "base": base, "sources": sources }))
}
