use super::environment::{self, Environment, Names};
use super::stages::{Planner, name};
use super::{PlannedHistory, Problems};
use crate::dockerfile::instruction;
use crate::graph::{self, CopyOptions, CopySource, FileAction, Input, NodeId, Op};
use crate::oci::{ImageConfig, Platform};

/// What a stage has come to: all that a stage built on it inherits.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// Its tree; none is an empty one.
    pub(super) root: Option<NodeId>,
    /// Its variables are those of `exported` once the stage is planned.
    pub(super) config: ImageConfig,
    /// What ENV has set, here and below.
    pub(super) exported: Environment,
    pub(super) history: Vec<PlannedHistory>,
    /// What words and processes see: ARG and ENV together.
    pub(super) environment: Environment,
    pub(super) platform: Platform,
    /// Names that ARG declared, also in the stages below, in order.
    pub(super) arguments: Names,
    /// Whether a WORKDIR of this file has been followed.
    pub(super) has_directory: bool,
    /// Whether nothing is known of the image below.
    pub(super) is_unknown: bool,
}

impl State {
    /// Returns what words and processes see.
    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Returns how many bytes of environment and history there are.
    pub(super) fn bytes(&self) -> usize {
        let history: usize = self.history.iter().map(|item| item.created_by.len()).sum();
        environment::bytes(self.environment.pairs()) + history
    }

    pub(super) fn scratch(platform: &Platform) -> State {
        let mut config = ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            os_version: platform.os_version.clone(),
            variant: platform.variant.clone(),
            ..ImageConfig::default()
        };
        config.config.working_dir = "/".to_owned();
        State::new(None, config, platform.clone())
    }

    /// Returns the state of a named context: all its files, as one layer.
    pub(super) fn of_files(
        planner: &mut Planner<'_>,
        source: &graph::Source,
        stage: &instruction::Stage,
    ) -> Result<State, Problems> {
        let place = &stage.base;
        let name = name(stage).filter(|name| planner.is_named(name)).unwrap_or(&place.value);
        let files = planner.add_files(source, name, place.span)?;
        let from = CopySource::Path { from: Input(0), path: "/".to_owned() };
        let all = FileAction::Copy { source: from, destination: "/".to_owned(), options: CopyOptions::default() };
        let op = Op::File(graph::File { base: None, actions: vec![all] });
        let title = format!("[context {name}] copy");
        let origin = Some((planner.source.clone(), place.span));
        let root = planner.add(op, vec![files], title.clone(), origin.clone());
        let scratch = State::scratch(planner.platform(None));
        let history = vec![PlannedHistory { created_by: title, layer: Some(root), origin }];
        Ok(State { root: Some(root), history, ..scratch })
    }

    pub(super) fn new(root: Option<NodeId>, mut config: ImageConfig, platform: Platform) -> State {
        let environment = Environment::of_config(&config.config.env).with_path();
        config.config.env = environment.to_config();
        config.created = None;
        State {
            root,
            config,
            exported: environment.clone(),
            history: Vec::new(),
            environment,
            platform,
            arguments: Names::default(),
            has_directory: false,
            is_unknown: false,
        }
    }
}
