//! The lint rules that need values: of variables, of images, of the context.

use std::collections::BTreeSet;

use super::PlanOptions;
use super::environment::{Environment, automatic};
use super::stages::name;
use crate::diagnostic::{Diagnostic, Span, Spanned};
use crate::dockerfile::instruction::{Dockerfile, Stage, Word};
use crate::dockerfile::lint::Rule;
use crate::dockerfile::{nearest, shell};
use crate::oci::{Platform, Reference};

/// Arguments that never are in the environment, and may be used all the same.
const NEVER_SET: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Returns the finding where a variable has no value and no ARG; `known` are the names that were likely meant.
pub(super) fn undefined_variable(used: &Spanned<String>, known: &[&str]) -> Option<Diagnostic> {
    let name = &used.value;
    if NEVER_SET.contains(&name.as_str()) {
        return None;
    }
    let near = nearest(name, known.iter().copied());
    let meant = near.map(|near| format!(" (did you mean ${near}?)")).unwrap_or_default();
    Some(Rule::UndefinedVar.at(used.span, format!("Usage of undefined variable '${name}'{meant}")))
}

/// Tells whether the name of a variable promises a secret.
pub fn is_secret_name(name: &str) -> bool {
    const SECRET: [&str; 10] =
        ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
    const HARMLESS: [&str; 3] = ["public", "file", "version"];
    let lower = name.to_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    has(&SECRET) && !has(&HARMLESS)
}

/// Returns the finding where the name of a variable promises a secret.
pub(super) fn secret_name(instruction: &str, name: &str, span: Span) -> Option<Diagnostic> {
    is_secret_name(name).then(|| {
        let message = format!("Do not use ARG or ENV instructions for sensitive data ({instruction} \"{name}\")");
        let finding = Rule::SecretsUsedInArgOrEnv.at(span, message);
        finding.with_help("give it to the step that needs it with `RUN --mount=type=secret`")
    })
}

/// Returns the finding about `key value`.
pub(super) fn legacy_pair(instruction: &str, span: Span) -> Diagnostic {
    let message =
        format!("\"{instruction} key=value\" should be used instead of legacy \"{instruction} key value\" format");
    Rule::LegacyKeyValueFormat.at(span, message)
}

/// Returns the finding about the first WORKDIR of a chain of stages.
pub(super) fn relative_directory(path: &str, span: Span) -> Option<Diagnostic> {
    let message = format!("Relative workdir \"{path}\" can have unexpected results if the base image changes");
    (!path.starts_with('/')).then(|| Rule::WorkdirRelativePath.at(span, message))
}

/// Returns the finding about an instruction that a later one makes void.
pub(super) fn overridden(name: &str, earlier: Span, later: Span) -> Diagnostic {
    let message = format!(
        "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
    );
    Rule::MultipleInstructionsDisallowed.at(earlier, message).with_also(later, "this one counts")
}

/// Returns the finding about a command that a shell will stand before.
pub(super) fn shell_form(name: &str, span: Span) -> Diagnostic {
    let message = format!("JSON arguments recommended for {name} to prevent unintended behavior related to OS signals");
    Rule::JSONArgsRecommended.at(span, message)
}

/// Returns the findings about one port of EXPOSE.
pub(super) fn port(spec: &str, span: Span) -> Vec<Diagnostic> {
    let (ports, protocol) = spec.split_once('/').unwrap_or((spec, ""));
    let format = || {
        let message =
            format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{spec}'");
        Rule::ExposeInvalidFormat.at(span, message).with_help("write the port of the container alone")
    };
    let casing = || {
        let message = format!("Defined protocol '{spec}' in EXPOSE instruction should be lowercase");
        Rule::ExposeProtoCasing.at(span, message).with_help(format!("write `{}`", spec.to_lowercase()))
    };
    let format = ports.contains(':').then(format);
    let casing = (protocol != protocol.to_lowercase()).then(casing);
    format.into_iter().chain(casing).collect()
}

/// Returns the finding about a source that the ignore file keeps out of the context.
pub(super) fn ignored_source(add: bool, source: &str, options: &PlanOptions, span: Span) -> Option<Diagnostic> {
    let ignore = options.ignore.as_ref()?;
    let path = super::copy::absolute("/", source);
    if !ignore.excludes_for_good(&path[1..]) {
        return None;
    }
    let shown = if path == "/" { "." } else { &path[1..] };
    let action = if add { "Add" } else { "Copy" };
    let message = format!("Attempting to {action} file \"{shown}\" that is excluded by .dockerignore");
    Some(Rule::CopyIgnoredFile.at(span, message))
}

/// Returns the finding about an image of another platform than the stage is for.
pub(super) fn base_platform(image: &str, expected: &Platform, actual: &Platform, span: Span) -> Option<Diagnostic> {
    let differs = (&actual.os, &actual.architecture) != (&expected.os, &expected.architecture);
    let message =
        format!("Base image {image} was pulled with platform \"{actual}\", expected \"{expected}\" for current build");
    differs.then(|| Rule::InvalidBaseImagePlatform.at(span, message))
}

/// Returns the findings about the FROM of every stage, needed or not.
pub(super) fn froms(file: &Dockerfile, global: &Environment, options: &PlanOptions) -> Vec<Diagnostic> {
    let declared = file.global_args.iter().flat_map(|arg| &arg.value.declarations);
    let mut known: BTreeSet<&str> = declared.map(|declared| declared.name.value.as_str()).collect();
    known.extend(global.pairs().iter().map(|(name, _)| name.as_str()));
    let mut found = Vec::new();
    for stage in &file.stages {
        found.extend(stage.platform.iter().flat_map(|word| platform(stage, word, file.escape, global, &known)));
        found.extend(undeclared(&stage.base, file.escape, global, &known));
    }
    found.extend(defaults(file, options));
    found
}

fn expand(word: &Word, escape: char, environment: &Environment) -> Option<shell::Expansion> {
    shell::expand(&word.value, escape, &|name| environment.get(name).map(str::to_owned)).ok()
}

fn undeclared(word: &Word, escape: char, global: &Environment, known: &BTreeSet<&str>) -> Vec<Diagnostic> {
    let uses = expand(word, escape, global).map(|expansion| expansion.uses).unwrap_or_default();
    let names: BTreeSet<&str> = uses.iter().filter(|used| !used.defined).map(|used| used.name.as_str()).collect();
    let report = |name: &&str| {
        let near = nearest(name, known.iter().copied());
        let meant = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
        let finding = Rule::UndefinedArgInFrom.at(word.span, format!("FROM argument '{name}' is not declared{meant}"));
        finding.with_help("declare it by an ARG before the first FROM")
    };
    names.iter().filter(|name| !known.contains(**name)).map(report).collect()
}

fn platform(stage: &Stage, word: &Word, escape: char, global: &Environment, known: &BTreeSet<&str>) -> Vec<Diagnostic> {
    let mut found = undeclared(word, escape, global, known);
    let Some(expansion) = expand(word, escape, global) else { return found };
    let names: BTreeSet<&str> = expansion.uses.iter().map(|used| used.name.as_str()).collect();
    let is_target =
        expansion.uses.iter().all(|used| used.defined) && global.get("TARGETPLATFORM") == Some(&expansion.text);
    if names.len() == 1 && names.contains("TARGETPLATFORM") && is_target {
        let message = format!(
            "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
            word.value
        );
        found.push(Rule::RedundantTargetPlatform.at(word.span, message).with_help("leave `--platform` out"));
    }
    if names.is_empty()
        && let Ok(constant) = expansion.text.parse::<Platform>()
    {
        let stage = name(stage).unwrap_or_default();
        if !stage.contains(&constant.os) && !stage.contains(&constant.architecture) {
            let message = format!("FROM --platform flag should not use constant value \"{}\"", expansion.text);
            found.push(Rule::FromPlatformFlagConstDisallowed.at(word.span, message));
        }
    }
    found
}

/// Returns the findings about bases that are no images while nobody gives build arguments.
fn defaults(file: &Dockerfile, options: &PlanOptions) -> Vec<Diagnostic> {
    let platform = options.platforms.first().unwrap_or(&options.build_platform);
    let mut environment = automatic(options, platform, "default");
    let declared = file.global_args.iter().flat_map(|arg| &arg.value.declarations);
    for (name, default) in declared.filter_map(|declared| Some((&declared.name.value, declared.default.as_ref()?))) {
        // What is malformed is an error of its own.
        let Some(value) = expand(default, file.escape, &environment) else { return Vec::new() };
        environment.set(name, &value.text);
    }
    let mut found = Vec::new();
    for base in file.stages.iter().map(|stage| &stage.base) {
        let Some(expansion) = expand(base, file.escape, &environment) else { return found };
        if expansion.text.parse::<Reference>().is_err() {
            let message = format!("Default value for ARG {} results in empty or invalid base image name", base.value);
            let help = "give the ARG before the first FROM a default, or write `${NAME:-image}`";
            found.push(Rule::InvalidDefaultArgInFrom.at(base.span, message).with_help(help));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_promise_secrets_are_known() {
        for (name, expected) in [
            ("TOKEN", true),
            ("GITHUB_TOKEN", true),
            ("secret_message", true),
            ("API_KEY", true),
            ("APIKEY", true),
            ("KEYRING", false),
            ("AUTHOR", false),
            ("PUBLIC_KEY", false),
            ("SECRET_FILE", false),
            ("TOKEN_VERSION", false),
        ] {
            assert_eq!(secret_name("ENV", name, Span::default()).is_some(), expected, "{name}");
        }
    }

    #[test]
    fn ports_are_plain_and_lower_case() {
        let rules = |spec| port(spec, Span::default()).iter().map(|found| found.code).collect::<Vec<_>>();
        assert_eq!(rules("80/tcp"), [""; 0]);
        assert_eq!(rules("80/UDP"), ["ExposeProtoCasing"]);
        assert_eq!(rules("1.2.3.4:80:80/Tcp"), ["ExposeInvalidFormat", "ExposeProtoCasing"]);
    }
}
