use std::rc::Rc;

use super::environment::Environment;
use super::stages::{Base, Planner, unknown};
use super::state::State;
use super::titles::Titles;
use super::{Problems, ResolvedImage, all, lint};
use crate::diagnostic::{Diagnostic, Source, Span};
use crate::dockerfile::instruction::{self, Step};
use crate::dockerfile::parse_trigger;
use crate::graph::Place;
use crate::oci::{Platform, Reference};

/// What a stage starts from, found.
pub(super) enum Ground {
    State(State),
    Image(BaseImage),
}

impl Ground {
    pub(super) fn find(planner: &mut Planner<'_>, index: usize) -> Option<Ground> {
        let stage = &planner.file.stages[index];
        match planner.base(index)? {
            Base::Scratch => Some(Ground::State(State::scratch(planner.platform(None)))),
            Base::Stage(earlier) => {
                let below = planner.state(earlier)?;
                planner.count(below.bytes(), stage.span);
                Some(Ground::State(State::clone(&below)))
            }
            Base::Files(source) => {
                let state = State::of_files(planner, &source, stage);
                Some(Ground::State(planner.report(state)?))
            }
            Base::Image(reference, own) => {
                let platform = planner.platform(own.as_ref()).clone();
                let found = planner.image(&reference, &platform, stage.base.span);
                let found = found.map_err(|problems| suggest(planner, index, &stage.base.value, problems));
                // What is wrong further down is told in the same run.
                let image = planner.report(found).unwrap_or_else(|| Rc::new(unknown(&reference, &platform)));
                let is_implicit = own.is_none() && planner.target_platform.is_none();
                let platform = if is_implicit { adopted(planner, &image, platform) } else { platform };
                Some(Ground::Image(BaseImage { reference, image, platform }))
            }
        }
    }

    pub(super) fn platform(&self) -> Platform {
        match self {
            Ground::State(state) => state.platform.clone(),
            Ground::Image(base) => base.platform.clone(),
        }
    }

    pub(super) fn triggers(&self) -> &[String] {
        match self {
            Ground::State(state) => &state.config.config.on_build,
            Ground::Image(base) => &base.image.config.config.on_build,
        }
    }
}

pub(super) struct BaseImage {
    reference: Reference,
    image: Rc<ResolvedImage>,
    platform: Platform,
}

/// Returns the platform of a stage nobody asked a platform for: the image's is as good, if programs for it run here
/// (section 7.9).
fn adopted(planner: &Planner<'_>, image: &ResolvedImage, platform: Platform) -> Platform {
    let own = image.config.platform().normalized();
    let is_own = |known: &&Platform| known.os == own.os && known.architecture == own.architecture;
    let known = [&platform, &planner.options.build_platform].into_iter().chain(&planner.options.emulated).find(is_own);
    known.cloned().unwrap_or(platform)
}

impl BaseImage {
    pub(super) fn state(self, planner: &mut Planner<'_>, stage: &instruction::Stage, titles: &mut Titles) -> State {
        let BaseImage { reference, image, platform } = self;
        let own = image.config.platform().normalized();
        let has_layers = !image.config.rootfs.diff_ids.is_empty();
        if has_layers {
            let name = if stage.base.value.contains('$') { reference.familiar() } else { stage.base.value.clone() };
            planner.warnings.extend(lint::base_platform(&name, &platform, &own, stage.base.span));
        }
        let is_unknown = planner.is_unknown(&reference, &platform);
        let title = match reference.digest() {
            Some(_) => format!("FROM {reference}"),
            None => format!("FROM {reference}@{}", image.manifest),
        };
        let (title, place) = titles.next(&title, &Environment::default());
        // What the name leads to is what may have changed.
        let place = Place { text: format!("FROM {reference}"), ..place };
        let root = planner.add_image(&image, &platform, (title, place), Some(stage.span));
        let state = State::new(has_layers.then_some(root), image.config.clone(), platform);
        State { is_unknown, ..state }
    }
}

/// Reads the triggers of a base image.
pub(super) fn triggers_of(texts: &[String], span: Span) -> Result<Vec<(Source, Step)>, Problems> {
    all(texts.iter().map(|text| {
        let source = Source::new("trigger", text.as_str());
        let step = parse_trigger(&source).map_err(|found| {
            let message = found.first().map_or("it is empty", |problem| &problem.message);
            let label = format!("its trigger `ONBUILD {text}` cannot be read");
            Problems::from(Diagnostic::error("invalid-trigger", message, span).with_label(label))
        })?;
        Ok((source, step))
    }))
}

/// Adds what was likely meant to an image that is not there.
pub(super) fn suggest(planner: &Planner<'_>, current: usize, text: &str, mut problems: Problems) -> Problems {
    if let Some(near) = planner.nearest_stage(current, text) {
        for problem in problems.0.iter_mut().filter(|problem| problem.code == "image-not-found") {
            problem.help = Some(format!("did you mean the stage `{near}`?"));
        }
    }
    problems
}
