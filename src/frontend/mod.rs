//! (stand-in)
#![allow(missing_docs, clippy::all, unused)]
use crate::diagnostic::{self, Diagnostic};
use crate::dockerfile::instruction;
use crate::graph::*;
use crate::oci::*;
use std::collections::BTreeMap;
pub trait ResolveImage {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, String>;
}
pub struct ResolvedImage {
    pub reference: Reference,
    pub manifest: Digest,
    pub config: ImageConfig,
}
pub struct PlanOptions {
    pub build_args: BTreeMap<String, String>,
    pub target: Option<String>,
    pub platform: Platform,
    pub build_platform: Platform,
    pub labels: BTreeMap<String, String>,
    pub network: Option<Network>,
    pub no_cache: bool,
    pub epoch: Option<i64>,
}
pub struct Plan {
    pub graph: BuildGraph,
    pub target: Option<NodeId>,
    pub config: ImageConfig,
    pub history: Vec<PlannedHistory>,
    pub warnings: Vec<Diagnostic>,
}
pub struct PlannedHistory {
    pub created_by: String,
    pub layer: Option<NodeId>,
    pub comment: Option<String>,
}
pub fn plan(
    _: &diagnostic::Source,
    _: &instruction::Dockerfile,
    _: &PlanOptions,
    _: &dyn ResolveImage,
) -> Result<Plan, Vec<Diagnostic>> {
    unimplemented!()
}
