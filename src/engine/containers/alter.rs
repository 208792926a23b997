use crate::context::Ignore;
use crate::diagnostic::{Diagnostic, Source};
use crate::dockerfile::instruction::{Instruction, Step};
use crate::engine::check::plan_options;
use crate::engine::dockerfile::parse;
use crate::engine::{BuildOptions, Error};
use crate::frontend::{self, PlanOptions, ResolveImage, ResolvedImage, Unresolved};
use crate::oci::{Digest, ImageConfig, Platform, Reference};

/// The image that instructions are followed over; nothing but its config is ever asked for.
struct Ground(ImageConfig);

/// What that is called where the instructions are shown.
const NAME: &str = "--change";

/// What stands before them.
const FROM: &str = "FROM ground\n";

impl ResolveImage for Ground {
    fn resolve(&self, reference: &Reference, _: &Platform) -> Result<ResolvedImage, Unresolved> {
        Ok(ResolvedImage { reference: reference.clone(), manifest: Digest::of(b""), config: self.0.clone() })
    }
}

/// Returns `config` changed by instructions of Dockerfiles that do nothing but that, each as a line.
///
/// # Errors
/// [`Error::Diagnostics`].
pub(super) fn alter(config: &ImageConfig, instructions: &[String]) -> Result<ImageConfig, Error> {
    if instructions.is_empty() {
        return Ok(config.clone());
    }
    let source = Source::new(NAME, FROM.to_owned() + &instructions.join("\n") + "\n");
    let loaded = parse(source.clone(), None, Ignore::none())?;
    let steps = loaded.file.stages.iter().flat_map(|stage| &stage.steps);
    let mut found: Vec<Diagnostic> = steps.filter_map(refused).collect();
    if let Some(second) = loaded.file.stages.get(1) {
        found.push(Diagnostic::error("instruction-not-allowed", "`FROM` cannot change an image", second.span));
    }
    let failed = |found| Error::Diagnostics { file: source.clone(), found };
    if !found.is_empty() {
        return Err(failed(found));
    }
    // Triggers are for who builds on the image, and stay as they are.
    let mut ground = config.clone();
    let triggers = std::mem::take(&mut ground.config.on_build);
    let platform = ground.platform();
    let options = PlanOptions {
        platforms: vec![platform.clone()],
        build_platform: platform,
        ..plan_options(&loaded, &BuildOptions::default())
    };
    let plan = frontend::plan(&loaded.source, &loaded.file, &options, &Ground(ground)).map_err(failed)?;
    let mut planned = plan.images.into_iter().next().expect("a plan has an image for the platform asked for").config;
    planned.config.on_build.splice(0..0, triggers);
    Ok(ImageConfig { config: planned.config, author: planned.author, ..config.clone() })
}

/// Tells what is wrong with an instruction that is about files.
fn refused(step: &Step) -> Option<Diagnostic> {
    let word = match &step.instruction {
        Instruction::Run(_) => "RUN",
        Instruction::Copy(_) => "COPY",
        Instruction::Add(_) => "ADD",
        Instruction::Arg(_) => "ARG",
        _ => return None,
    };
    let message = format!("`{word}` cannot change an image that is not built");
    let allowed = "CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, MAINTAINER, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME \
                   and WORKDIR can";
    Some(Diagnostic::error("instruction-not-allowed", message, step.span).with_help(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn altered(instructions: &[&str]) -> Result<ImageConfig, Error> {
        let mut config = ImageConfig { architecture: "amd64".into(), os: "linux".into(), ..ImageConfig::default() };
        config.config.env = vec!["PATH=/bin".into(), "A=1".into()];
        config.config.working_dir = "/w".into();
        config.config.cmd = Some(vec!["old".into()]);
        config.config.on_build = vec!["RUN first".into()];
        alter(&config, &instructions.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn instructions_mean_what_they_mean_in_a_dockerfile() {
        let config = altered(&[
            "ENV B=${A}2 PATH=/x:$PATH",
            "WORKDIR sub",
            "USER 5",
            "EXPOSE 80 90/udp",
            "LABEL a=\"b c\"",
            "VOLUME /data",
            "STOPSIGNAL SIGINT",
            "ONBUILD RUN second",
            "ENTRYPOINT [\"/e\"]",
            "CMD echo $B",
        ])
        .unwrap()
        .config;
        assert_eq!(config.env, ["PATH=/x:/bin", "A=1", "B=12"]);
        assert_eq!((&*config.working_dir, &*config.user), ("/w/sub", "5"));
        assert_eq!(config.exposed_ports.keys().collect::<Vec<_>>(), ["80/tcp", "90/udp"]);
        assert_eq!(config.labels["a"], "b c");
        assert!(config.volumes.contains_key("/data"));
        assert_eq!(config.stop_signal.as_deref(), Some("SIGINT"));
        assert_eq!(config.on_build, ["RUN first", "RUN second"]);
        assert_eq!(config.entrypoint.unwrap(), ["/e"]);
        assert_eq!(config.cmd.unwrap(), ["/bin/sh", "-c", "echo $B"]);
    }

    #[test]
    fn what_is_about_files_or_wrong_is_refused() {
        for text in ["RUN make", "COPY a b", "FROM scratch", "ARG x", "NONSENSE", "EXPOSE x", "STOPSIGNAL no"] {
            assert!(matches!(altered(&[text]), Err(Error::Diagnostics { .. })), "{text}");
        }
    }
}
