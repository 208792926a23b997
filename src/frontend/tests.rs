//! What Dockerfiles are planned to: numbers in names are sections of the semantics reference.

use std::sync::Mutex;

use super::*;
use crate::diagnostic::{Style, render};
use crate::dockerfile;
use crate::graph::{CopySource, FileAction, Op};

/// Knows `base`, `base:arm` and `triggers`, and remembers what it was asked for.
#[derive(Default)]
struct Images(Mutex<Vec<String>>);

impl ResolveImage for Images {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, Unresolved> {
        self.0.lock().unwrap().push(format!("{} {platform}", reference.familiar()));
        let mut config = ImageConfig { os: "linux".into(), architecture: "amd64".into(), ..ImageConfig::default() };
        config.config.env = vec!["A=from-base".into()];
        config.config.cmd = Some(vec!["base-cmd".into()]);
        config.rootfs.diff_ids =
            ["sha256:".to_owned() + &"1".repeat(64)].iter().map(|id| id.parse().unwrap()).collect();
        match reference.familiar().as_str() {
            "base:latest" => {}
            "base:arm" => config.architecture = "arm64".into(),
            "triggers:latest" => {
                config.config.on_build = vec!["COPY a /a".into(), "ENV T=$A".into(), "COPY --from=build x /".into()];
            }
            "broken:latest" => config.config.on_build = vec!["COPY ${ /".into()],
            other => return Err(Unresolved::not_found(format!("{other} is not there"))),
        }
        Ok(ResolvedImage { reference: reference.clone(), manifest: Digest::of(b"manifest"), config })
    }
}

fn options() -> PlanOptions {
    PlanOptions {
        build_args: BTreeMap::new(),
        target: None,
        platforms: Vec::new(),
        build_platform: "linux/amd64".parse().unwrap(),
        labels: BTreeMap::new(),
        network: None,
        contexts: NamedContexts::default(),
        no_cache: false,
        ignore: None,
        emulated: Vec::new(),
        allow: Allow::default(),
        hosts: Vec::new(),
        ulimits: Vec::new(),
        shm_size_bytes: None,
        no_cache_stages: Vec::new(),
    }
}

fn plan_with(text: &str, options: &PlanOptions) -> Result<Plan, String> {
    let source = Source::new("Dockerfile", text);
    let (file, _) = dockerfile::read(&source).unwrap_or_else(|found| panic!("{text}: {found:?}"));
    let shown = |found: Vec<Diagnostic>| {
        found.iter().map(|found| render(&source, found, Style::Plain)).collect::<Vec<_>>().join("\n")
    };
    plan(&source, &file, options, &Images::default()).map_err(shown)
}

fn planned(text: &str) -> Plan {
    plan_with(text, &options()).unwrap_or_else(|found| panic!("{text}:\n{found}"))
}

fn args(pairs: &[(&str, &str)]) -> PlanOptions {
    let build_args = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    PlanOptions { build_args, ..options() }
}

/// Returns the history, with a `*` before what has a layer.
fn history(plan: &Plan) -> Vec<String> {
    let shown = |item: &PlannedHistory| format!("{}{}", if item.layer.is_some() { "*" } else { "" }, item.created_by);
    plan.images[0].history.iter().map(shown).collect()
}

fn titles(plan: &Plan) -> Vec<&str> {
    plan.graph.nodes().map(|(_, node)| node.step.title.as_str()).collect()
}

fn label(plan: &Plan, name: &str) -> String {
    plan.images[0].config.config.labels.get(name).cloned().unwrap_or_default()
}

#[track_caller]
fn refused(text: &str, parts: &[&str]) {
    let found = plan_with(text, &options()).expect_err(text);
    for part in parts {
        assert!(found.contains(part), "`{part}` is not in:\n{found}");
    }
}

#[test]
fn section_12_2_history_is_written_as_buildkit_does() {
    let plan = planned(
        "FROM scratch\nARG V=1 W\nENV A=1 B=\"x y\"\nLABEL l=$A\nRUN echo $V\nRUN [\"/a\", \"b c\"]\n\
         COPY --chown=1:2 --chmod=644 a b* sub/\nADD <<EOF /f\nx\nEOF\nWORKDIR /w\nWORKDIR x\nWORKDIR /\nUSER me\n\
         CMD echo \"hi\"\nENTRYPOINT [\"/e\"]\nEXPOSE 80 53/UDP\nVOLUME /a /b\nSHELL [\"/bin/bash\", \"-c\"]\n\
         HEALTHCHECK --interval=90s --retries=3 CMD true\nSTOPSIGNAL SIGINT\nMAINTAINER me\nRUN x\n",
    );
    assert_eq!(
        history(&plan),
        [
            "ARG V=1 W",
            "ENV A=1 B=x y",
            "LABEL l=1",
            "*RUN |2 V=1 W= /bin/sh -c echo $V # buildkit",
            "*RUN |2 V=1 W= /a b c # buildkit",
            "*COPY --chown=1:2 --chmod=644 a b* sub/ # buildkit",
            "*ADD <<EOF /f # buildkit",
            "*WORKDIR /w",
            "*WORKDIR /w/x",
            "WORKDIR /",
            "USER me",
            "CMD [\"/bin/sh\" \"-c\" \"echo \\\"hi\\\"\"]",
            "ENTRYPOINT [\"/e\"]",
            "EXPOSE [53/udp 80/tcp]",
            "VOLUME [/a /b]",
            "SHELL [/bin/bash -c]",
            "HEALTHCHECK {Test:[CMD-SHELL true] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:3}",
            "STOPSIGNAL SIGINT",
            "MAINTAINER me",
            "*RUN |2 V=1 W= /bin/bash -c x # buildkit",
        ]
    );
    let config = &plan.images[0].config.config;
    assert_eq!(plan.images[0].config.author.as_deref(), Some("me"));
    assert!(config.args_escaped && config.cmd.is_some());
    assert_eq!(config.healthcheck.as_ref().unwrap().test, ["CMD-SHELL", "true"]);
}

#[test]
fn section_6_variables_have_their_scopes() {
    for (text, options, expected) in [
        ("ARG A=1\nFROM scratch\nLABEL l=${A-unset}\n", options(), "unset"),
        ("ARG A=1\nFROM scratch\nARG A\nLABEL l=$A\n", options(), "1"),
        ("ARG A=1\nFROM scratch\nARG A=2\nLABEL l=$A\n", options(), "2"),
        ("ARG A=1\nARG B=$A-2\nFROM scratch\nARG B\nLABEL l=$B\n", options(), "1-2"),
        ("ARG A=1\nFROM scratch\nARG A=2\nLABEL l=$A\n", args(&[("A", "3")]), "3"),
        ("FROM scratch\nARG A\nLABEL l=${A-unset}\n", options(), "unset"),
        ("FROM scratch\nENV A=old\nENV A=new B=$A\nLABEL l=$B\n", options(), "old"),
        ("FROM scratch\nARG A=1 B=$A\nLABEL l=$B\n", options(), "1"),
        ("FROM scratch\nENV A=env\nARG A=arg\nLABEL l=$A\n", options(), "arg"),
        ("FROM scratch AS a\nARG A=1\nFROM a\nLABEL l=$A\n", options(), "1"),
        ("FROM scratch AS a\nARG A=1\nFROM scratch\nLABEL l=${A-unset}\n", options(), "unset"),
        ("FROM base\nLABEL l=$A\n", options(), "from-base"),
        ("FROM scratch\nLABEL l=${TARGETARCH-unset}\n", options(), "unset"),
        (
            "FROM scratch\nARG TARGETPLATFORM TARGETVARIANT\nLABEL l=$TARGETPLATFORM${TARGETVARIANT-unset}\n",
            options(),
            "linux/amd64",
        ),
        ("FROM scratch AS last\nARG TARGETSTAGE\nLABEL l=$TARGETSTAGE\n", options(), "last"),
        ("FROM scratch\nARG TARGETSTAGE\nLABEL l=$TARGETSTAGE\n", options(), "default"),
    ] {
        assert_eq!(label(&plan_with(text, &options).unwrap(), "l"), expected, "{text}");
    }
    // Trap 1: an ARG hides an ENV from what follows, and the image keeps the ENV.
    let plan = planned("FROM scratch\nENV A=env\nARG A=arg\n");
    assert!(plan.images[0].config.config.env.contains(&"A=env".to_owned()));
}

#[test]
fn section_6_8_proxies_reach_processes_and_nothing_else() {
    let plan = plan_with("FROM scratch\nRUN x\n", &args(&[("http_proxy", "p")])).unwrap();
    let Op::Run(run) = &plan.graph.node(plan.images[0].target.unwrap()).op else { panic!() };
    let shown: Vec<_> = run.proxy_env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(shown, ["HTTP_PROXY=p", "http_proxy=p"]);
    assert_eq!(plan.graph.node(plan.images[0].target.unwrap()).digest, {
        let plain = planned("FROM scratch\nRUN x\n");
        plain.graph.node(plain.images[0].target.unwrap()).digest
    });
    assert_eq!(history(&plan), ["*RUN /bin/sh -c x # buildkit"]);
}

#[test]
fn section_7_names_bind_to_stages() {
    // FROM binds to the latest stage before it, COPY --from to the last of the file.
    let plan = planned("FROM scratch AS a\nLABEL l=1\nFROM scratch AS a\nLABEL l=2\nFROM a\n");
    assert_eq!(label(&plan, "l"), "2");
    refused(
        "FROM scratch AS a\nRUN x\nFROM scratch AS mid\nCOPY --from=a / /\nFROM scratch AS a\nCOPY --from=mid / /\n",
        &["Dockerfile:4:", "cannot copy from stage \"a\", it needs to be defined before current stage \"mid\""],
    );
    refused("FROM scratch AS a\nCOPY --from=A / /\n", &["circular dependency detected on stage: a"]);
    refused("FROM scratch\nCOPY --from=0 / /\n", &["circular dependency detected on stage: stage-0"]);
    refused("FROM scratch\nCOPY --from=5 / /\n", &["invalid stage index 5"]);
    refused("FROM scratch AS a\nFROM A\n", &["repository name (library/A) must be lowercase", "did you mean `a`?"]);
    refused(
        "FROM scratch AS build\nFROM scratch\nCOPY --from=biuld / /\n",
        &["biuld:latest is not there", "did you mean the stage `build`?"],
    );
    refused("FROM $NO\n", &["base name ($NO) should not be blank"]);
}

#[test]
fn section_7_6_what_the_target_does_not_need_is_not_looked_at() {
    let text = "FROM absent AS no\nCOPY --from=9 ${ /\nFROM scratch AS yes\nLABEL l=1\nFROM absent\n";
    let target = |name: &str| PlanOptions { target: Some(name.into()), ..options() };
    assert_eq!(label(&plan_with(text, &target("YES")).unwrap(), "l"), "1");
    let found = plan_with(text, &target("yse")).unwrap_err();
    assert!(
        found.contains("target stage \"yse\" could not be found") && found.contains("did you mean `yes`?"),
        "{found}"
    );
    let images = Images::default();
    let source = Source::new("Dockerfile", text);
    plan(&source, &dockerfile::read(&source).unwrap().0, &target("yes"), &images).unwrap();
    assert!(images.0.into_inner().unwrap().is_empty());
}

#[test]
fn every_problem_of_the_needed_stages_is_told_at_once() {
    let found = plan_with(
        "FROM absent AS a\nFROM scratch\nENV A=${x!}\nEXPOSE 1x 2 3x\nCOPY --from=a / /\nSTOPSIGNAL BAD\nVOLUME $nothing\n",
        &options(),
    )
    .unwrap_err();
    let lines: Vec<_> = found.lines().filter(|line| line.starts_with("error")).collect();
    assert_eq!(
        lines,
        [
            "error[image-not-found]: absent:latest is not there",
            "error[bad-expansion]: failed to process \"${x!}\": unsupported modifier (!) in substitution",
            "error[invalid-port]: invalid containerPort: 1x",
            "error[invalid-port]: invalid containerPort: 3x",
            "error[invalid-signal]: invalid signal: BAD",
            "error[empty-volume]: VOLUME specified can not be an empty string",
        ]
    );
}

#[test]
fn section_7_9_platforms_choose_images_and_say_what_is_built() {
    let plan = planned("FROM base:arm\n");
    assert_eq!(plan.images[0].config.architecture, "arm64");
    assert!(plan.warnings[0].message.contains("was pulled with platform \"linux/arm64\", expected \"linux/amd64\""));
    let emulating = PlanOptions { emulated: vec!["linux/arm64".parse().unwrap()], ..options() };
    assert!(plan_with("FROM base:arm\n", &emulating).unwrap().warnings.is_empty());
    let asked = PlanOptions { platforms: vec!["linux/arm/v7".parse().unwrap()], ..options() };
    let plan = plan_with("FROM --platform=$BUILDPLATFORM scratch AS b\nFROM scratch\n", &asked).unwrap();
    assert_eq!(
        (plan.images[0].config.architecture.as_str(), plan.images[0].config.variant.as_deref()),
        ("arm", Some("v7"))
    );
    assert!(plan_with("FROM --platform= base\n", &options()).is_ok());
    refused("FROM --platform=$NO base\n", &["empty platform value from expression $NO"]);
    refused(
        "FROM --platform=foo base\n",
        &["failed to parse platform foo: \"foo\": unknown operating system or architecture: invalid argument"],
    );
    refused("FROM --platform=$TARGETPLATFROM base\n", &["Dockerfile:1:17", "did you mean `$TARGETPLATFORM`?"]);
    refused("FROM --platform=arm46 base\n", &["did you mean `arm64`?"]);
}

#[test]
fn section_9_8_names_of_owners_cannot_be_linked() {
    refused("FROM base\nCOPY --link --chown=1:nobody a b\n", &["Dockerfile:2:21", "`nobody` is a name"]);
    for owner in ["1", "1:2", ":2", "root:root", ""] {
        assert!(plan_with(&format!("FROM base\nCOPY --link --chown={owner} a b\n"), &options()).is_ok(), "{owner}");
    }
    assert!(plan_with("FROM base\nCOPY --link --chown=nobody --chmod=1 a b\n", &options()).is_ok());
}

#[test]
fn section_7_11_titles_number_the_steps_of_a_stage() {
    let plan = planned(
        "FROM base AS build\nWORKDIR /w\nENV A=1\nRUN <<EOF\necho one\necho two\nEOF\nFROM scratch\nCOPY --from=build a /\n",
    );
    let manifest = Digest::of(b"manifest");
    assert_eq!(
        titles(&plan),
        [
            format!("[build 1/3] FROM docker.io/library/base:latest@{manifest}").as_str(),
            "[build 2/3] WORKDIR /w",
            "[build 3/3] RUN <<EOF (echo one...)",
            "[stage-1 1/1] COPY --from=build a /",
        ]
    );
    assert_eq!(titles(&planned("FROM scratch\nCOPY a /\nRUN x\n"))[1..], ["[1/2] COPY a /", "[2/2] RUN x"]);
}

fn platforms(names: &[&str]) -> PlanOptions {
    PlanOptions { platforms: names.iter().map(|name| name.parse().unwrap()).collect(), ..options() }
}

#[test]
fn section_7_11_titles_tell_the_platform_where_there_are_several() {
    let text = "FROM --platform=$BUILDPLATFORM base AS build\nCOPY a /\nARG TARGETARCH\nRUN cc\nFROM base\nCOPY --from=build a /\n";
    let plan = plan_with(text, &platforms(&["linux/amd64", "linux/arm64"])).unwrap();
    let base = format!("FROM docker.io/library/base:latest@{}", Digest::of(b"manifest"));
    assert_eq!(
        titles(&plan),
        [
            format!("[linux/amd64 build 1/3] {base}"),
            "[internal] load build context".to_owned(),
            "[linux/amd64 build 2/3] COPY a /".to_owned(),
            "[linux/amd64 build 3/3] RUN cc".to_owned(),
            "[linux/amd64 stage-1 2/2] COPY --from=build a /".to_owned(),
            "[linux/amd64->arm64 build 3/3] RUN cc".to_owned(),
            format!("[linux/arm64 stage-1 1/2] {base}"),
            "[linux/arm64 stage-1 2/2] COPY --from=build a /".to_owned(),
        ],
        "what does not depend on the platform is there once"
    );
    assert!(plan.is_index && plan.images.len() == 2);
    assert_ne!(plan.images[0].target, plan.images[1].target);
}

#[test]
fn section_6_9_an_index_can_be_asked_for_and_not_refused() {
    let forced = |value: &str, names: &[&str]| {
        let options =
            PlanOptions { build_args: args(&[("BUILDKIT_MULTI_PLATFORM", value)]).build_args, ..platforms(names) };
        plan_with("FROM scratch\n", &options).map(|plan| plan.is_index)
    };
    assert_eq!(forced("1", &[]), Ok(true));
    assert_eq!(forced("false", &["linux/arm64"]), Ok(false));
    assert_eq!(forced("", &["linux/arm64", "linux/amd64"]), Ok(true));
    assert!(forced("0", &["linux/arm64", "linux/amd64"]).is_err());
    assert!(forced("yes", &[]).unwrap_err().contains("invalid boolean value for multi-platform: yes"));
}

#[test]
fn section_7_10_what_is_wrong_for_every_platform_is_said_once() {
    let problem = plan_with("FROM base\nSTOPSIGNAL BAD\n", &platforms(&["linux/amd64", "linux/arm64"])).unwrap_err();
    assert_eq!(problem.matches("invalid signal").count(), 1, "{problem}");
}

#[test]
fn section_9_copies_become_actions() {
    let plan = planned("FROM scratch\nWORKDIR /w\nENV D=dir\nCOPY --chmod=u+x a \"$D/b\" ./$D/\n");
    let node = plan.graph.node(plan.images[0].target.unwrap());
    let Op::File(file) = &node.op else { panic!() };
    let shown: Vec<_> = file
        .actions
        .iter()
        .map(|action| match action {
            FileAction::Copy { source: CopySource::Path { path, from }, destination, .. } => {
                format!("{} {path} {destination}", from.0)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(shown, ["1 a /w/dir/", "1 dir/b /w/dir/"]);
    assert_eq!(plan.graph.node(node.inputs[1]).step.title, "[internal] load build context");
    refused("FROM scratch\nCOPY --chmod=999 a /\n", &["invalid chmod parameter: '999'"]);
    refused("FROM scratch\nCOPY https://x.example/a /\n", &["source can't be a URL for COPY"]);
    refused("FROM scratch\nCOPY git@x.example:a.git /\n", &["source can't be a git ref for COPY"]);
}

#[test]
fn a_linked_copy_does_not_depend_on_what_is_below() {
    let plan = planned("FROM scratch\nWORKDIR /w\nCOPY --link --parents --exclude=*.o src/a b/\n");
    let merge = plan.graph.node(plan.images[0].target.unwrap());
    assert_eq!(merge.step.title, "[2/2] LINK COPY --link --parents --exclude=*.o src/a b/");
    let [below, copy] = merge.inputs[..] else { panic!("{:?}", merge.inputs) };
    assert_eq!(plan.graph.node(below).step.title, "[1/2] WORKDIR /w");
    let Op::File(file) = &plan.graph.node(copy).op else { panic!("{:?}", plan.graph.node(copy).op) };
    assert_eq!(file.base, None);
    let FileAction::Copy { destination, options, .. } = &file.actions[0] else { panic!("{file:?}") };
    assert_eq!(
        (destination.as_str(), options.parents, options.exclude.as_slice()),
        ("/w/b/", true, &["*.o".to_owned()][..])
    );
    let item = plan.images[0].history.last().unwrap();
    assert_eq!((item.created_by.as_str(), item.layer), ("COPY --parents src/a b/ # buildkit", Some(copy)));
}

#[test]
fn a_link_needs_something_below_and_no_mode() {
    for text in ["FROM scratch\nCOPY --link a /\n", "FROM scratch\nWORKDIR /w\nCOPY --link --chmod=600 a /\n"] {
        let plan = planned(text);
        let target = plan.graph.node(plan.images[0].target.unwrap());
        assert!(matches!(target.op, Op::File(_)), "{text}");
        assert_eq!(plan.images[0].history.last().unwrap().layer, plan.images[0].target, "{text}");
    }
}

#[test]
fn excludes_are_patterns() {
    refused("FROM scratch\nCOPY --exclude=[a . /\n", &["error[invalid-exclude]", "Dockerfile:2:16", "close the `[`"]);
}

#[test]
fn what_comes_later_is_refused_and_never_ignored() {
    refused("FROM scratch\nRUN --device=x true\n", &["error[not-supported-yet]", "Dockerfile:2:"]);
    refused("# syntax=example/other:1\nFROM scratch\n", &["error[unsupported-syntax]", "Dockerfile:1:"]);
    planned("# syntax=docker.io/docker/dockerfile:1.7-labs\nFROM scratch\n");
}

#[test]
fn section_11_3_an_entry_point_clears_an_inherited_command_only() {
    let cmd = |text: &str| planned(text).images[0].config.config.cmd.clone();
    assert_eq!(cmd("FROM base\nENTRYPOINT [\"e\"]\n"), None);
    assert_eq!(cmd("FROM base\nCMD [\"c\"]\nENTRYPOINT [\"e\"]\n"), Some(vec!["c".to_owned()]));
    assert_eq!(planned("FROM base\nENTRYPOINT []\n").images[0].config.config.entrypoint, None);
}

#[test]
fn section_11_12_triggers_fire_in_the_stage_built_on_them() {
    let plan = planned("FROM scratch AS build\nRUN x\nFROM triggers\nLABEL l=$T\n");
    assert_eq!(
        history(&plan),
        ["*COPY a /a # buildkit", "ENV T=from-base", "*COPY x / # buildkit", "LABEL l=from-base"]
    );
    assert!(titles(&plan).contains(&"[stage-1 2/3] ONBUILD COPY a /a"), "{:?}", titles(&plan));
    assert!(plan.images[0].config.config.on_build.is_empty());
    refused("FROM broken\n", &["Dockerfile:1:6", "in its trigger `ONBUILD COPY ${ /`"]);
    // And of a stage of the same file.
    let plan = planned("FROM scratch AS a\nONBUILD LABEL l=1\nFROM a AS b\nFROM b\n");
    assert_eq!((label(&plan, "l"), plan.images[0].config.config.on_build.len()), ("1".to_owned(), 0));
    assert_eq!(planned("FROM scratch\nONBUILD RUN x\n").images[0].config.config.on_build, ["RUN x"]);
}

#[test]
fn images_are_asked_for_once() {
    let source = Source::new("Dockerfile", "FROM base AS a\nFROM base\nCOPY --from=base a /\nCOPY --from=a a /\n");
    let images = Images::default();
    plan(&source, &dockerfile::read(&source).unwrap().0, &options(), &images).unwrap();
    assert_eq!(images.0.into_inner().unwrap(), ["base:latest linux/amd64"]);
}

#[test]
fn a_network_is_not_given_by_the_file() {
    let asking = "FROM scratch\nRUN --network=host x\n";
    let none = PlanOptions { network: Some(Network::None), ..options() };
    for options in [&none, &options()] {
        assert!(plan_with(asking, options).unwrap_err().contains("network.host is not allowed"));
    }
    let host = PlanOptions { network: Some(Network::Host), ..options() };
    let allowed = PlanOptions { allow: Allow { network_host: true, ..Allow::default() }, ..options() };
    for options in [&host, &allowed] {
        plan_with(asking, options).unwrap();
    }
    let plan = planned("FROM scratch\nRUN --network=none x\n");
    let Op::Run(run) = &plan.graph.node(plan.images[0].target.unwrap()).op else { panic!() };
    assert_eq!(run.network, Network::None);
}

#[test]
fn build_arguments_nobody_reads_are_told() {
    let given =
        args(&[("TYPO", "1"), ("TOPY", "1"), ("BUILDKIT_INLINE_CACHE", "1"), ("NO_PROXY", "x"), ("TARGETARCH", "y")]);
    let plan = plan_with("FROM scratch AS unneeded\nARG TOPY\nFROM scratch\n", &given).unwrap();
    let told: Vec<_> = plan.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(told, ["no ARG reads the build argument `TYPO`"]);
    assert_eq!(plan.warnings[0].help.as_deref(), Some("did you mean `TOPY`?"));
}

#[test]
fn a_long_chain_of_stages_needs_no_stack() {
    let chain: String = (1..3000).map(|stage| format!("FROM s{} AS s{stage}\n", stage - 1)).collect();
    planned(&format!("FROM scratch AS s0\nRUN x\n{chain}"));
}

/// Returns what lint finds in all stages, as `Rule line`.
fn linted(text: &str, options: &PlanOptions) -> Vec<String> {
    let source = Source::new("Dockerfile", text);
    let (file, _) = dockerfile::read(&source).unwrap_or_else(|found| panic!("{text}: {found:?}"));
    let checked = check(&source, &file, options, &Images::default());
    assert!(checked.errors.is_empty(), "{text}: {:?}", checked.errors);
    let found = dockerfile::lint::Controls::default().select(checked.warnings, dockerfile::lint::Occasion::Check);
    found.iter().map(|found| format!("{} {}", found.code, source.line(found.labels[0].0.start))).collect()
}

#[test]
fn section_16_rules_see_values() {
    for (text, expected) in [
        ("FROM scratch\nENV A=$B\n", &["UndefinedVar 2"][..]),
        ("FROM scratch\nARG B\nENV A=$B C=${D:-x}\n", &["UndefinedVar 3"]),
        ("FROM scratch\nARG A=$A B=$A\n", &["UndefinedVar 2"]),
        ("FROM scratch AS a\nARG B\nFROM a\nENV A=$B\n", &[]),
        ("FROM base\nENV B=$A PATH=/x:$PATH\n", &[]),
        // What an image that is not known sets, nobody knows; but this is a slip.
        ("FROM absent\nARG VERSION\nENV A=$SOMETHING B=$VERSOIN\n", &["UndefinedVar 3"]),
        ("FROM scratch\nCOPY <<E /\n$A\nE\nCOPY <<'E' /\n$A\nE\nEXPOSE $A\n", &["UndefinedVar 3"]),
        ("FROM scratch\nENV A b\nLABEL c d\n", &["LegacyKeyValueFormat 2", "LegacyKeyValueFormat 3"]),
        ("FROM scratch\nARG TOKEN\nENV API_KEY=x\n", &["SecretsUsedInArgOrEnv 2", "SecretsUsedInArgOrEnv 3"]),
        ("ARG TOKEN\nFROM scratch\n", &[]),
        ("FROM scratch\nWORKDIR a\nWORKDIR b\n", &["WorkdirRelativePath 2"]),
        ("FROM scratch AS a\nWORKDIR /a\nFROM a\nWORKDIR b\n", &[]),
        ("FROM scratch\nCMD a\n", &["JSONArgsRecommended 2"]),
        ("FROM scratch\nSHELL [\"/s\"]\nCMD a\nENTRYPOINT b\n", &[]),
        (
            "FROM scratch\nCMD [\"a\"]\nCMD [\"b\"]\nHEALTHCHECK NONE\nHEALTHCHECK CMD x\n",
            &["MultipleInstructionsDisallowed 2", "MultipleInstructionsDisallowed 4"],
        ),
        ("FROM scratch\nCMD [\"a\"]\nFROM scratch\nCMD [\"b\"]\n", &[]),
        ("FROM scratch\nEXPOSE 80/UDP 1:2\n", &["ExposeProtoCasing 2", "ExposeInvalidFormat 2"]),
        ("FROM --platform=$TARGETPLATFORM base\n", &["RedundantTargetPlatform 1"]),
        ("FROM --platform=$BUILDPLATFORM base\n", &[]),
        ("FROM --platform=linux/amd64 base AS b\n", &["FromPlatformFlagConstDisallowed 1"]),
        ("FROM --platform=linux/amd64 base AS amd64-b\n", &[]),
        ("ARG I\nFROM base${I}\n", &[]),
        ("FROM base$I\n", &["UndefinedArgInFrom 1"]),
        ("FROM base:arm\n", &["InvalidBaseImagePlatform 1"]),
        ("FROM absent\n", &[]),
    ] {
        assert_eq!(linted(text, &options()), expected, "{text}");
    }
}

#[test]
fn section_16_defaults_name_images() {
    let given = args(&[("I", "base")]);
    assert_eq!(linted("ARG I\nFROM $I\n", &given), ["InvalidDefaultArgInFrom 2"]);
    assert_eq!(linted("ARG I=base\nFROM $I\n", &given), [""; 0]);
    assert_eq!(linted("ARG V\nFROM base:${V:-arm}\n", &options()), ["InvalidBaseImagePlatform 2"]);
}

#[test]
fn section_16_sources_are_in_the_context() {
    for (ignored, text, expected) in [
        ("a", "FROM scratch\nCOPY a /\nADD b/../a /\nCOPY b /\n", &["CopyIgnoredFile 2", "CopyIgnoredFile 3"][..]),
        ("a", "FROM base AS b\nFROM scratch\nCOPY --from=b a /\n", &[]),
        ("a\n!b", "FROM scratch\nCOPY a /\n", &[]),
        ("d", "FROM scratch\nCOPY d/e .\nCOPY . /\n", &["CopyIgnoredFile 2"]),
        ("**", "FROM scratch\nCOPY . /\n", &["CopyIgnoredFile 2"]),
    ] {
        let ignore = Ignore::parse(&Source::new(".dockerignore", ignored)).unwrap();
        let options = PlanOptions { ignore: Some(ignore), ..options() };
        assert_eq!(linted(text, &options), expected, "{ignored} {text}");
    }
}

#[test]
fn section_16_messages_suggest_what_was_meant() {
    let found = plan_with("FROM base\nARG VERSION=1\nLABEL l=$VERSOIN\n", &options()).unwrap().warnings;
    assert_eq!(found[0].message, "Usage of undefined variable '$VERSOIN' (did you mean $VERSION?)");
    let source = Source::new("Dockerfile", "ARG IMAGE=base\nFROM ${IMGE:-base}\n");
    let (file, _) = dockerfile::read(&source).unwrap();
    let found = plan(&source, &file, &options(), &Images::default()).unwrap().warnings;
    assert_eq!(found[0].message, "FROM argument 'IMGE' is not declared (did you mean IMAGE?)");
}

#[test]
fn section_6_7_arguments_of_the_stage_below_are_in_the_history() {
    let plan = planned("FROM scratch AS a\nARG X=1\nFROM a\nARG Y=2\nRUN z\n");
    assert_eq!(history(&plan).last().unwrap(), "*RUN |2 X=1 Y=2 /bin/sh -c z # buildkit");
}

#[test]
fn every_from_is_evaluated_also_of_stages_nobody_needs() {
    refused("FROM $NO AS unneeded\nFROM scratch\n", &["base name ($NO) should not be blank"]);
}

#[test]
fn section_9_6_names_mean_nothing_where_no_file_says_whose_they_are() {
    for text in [
        "FROM scratch\nCOPY --chown=ada a /a\n",
        "FROM scratch\nCOPY --chown=7:wheel a /a\n",
        "FROM scratch\nUSER ada\nWORKDIR /w\n",
    ] {
        refused(text, &["nothing says who"]);
    }
    planned("FROM scratch\nCOPY --chown=root:0 a /a\nCOPY --chown=ada a /b\n");
}

#[test]
fn section_3_5_a_name_may_expand_to_nothing() {
    let plan = planned("FROM scratch\nENV $none=x\n");
    assert!(plan.images[0].config.config.env.contains(&"=x".to_owned()));
}

#[test]
fn what_would_take_all_memory_is_refused() {
    refused(&format!("FROM scratch\n{}", "WORKDIR abcdefghi\n".repeat(500)), &["path-too-long", "Dockerfile:411:9"]);
    refused(&format!("FROM scratch\nEXPOSE {}", "1-65535 ".repeat(5)), &["more ports are exposed than there are"]);
    // Every RUN has a copy of what is set above it.
    let value = "x".repeat(2000);
    let square: String = (0..600).map(|number| format!("ENV A{number}={value}\nRUN a\n")).collect();
    refused(&format!("FROM scratch\n{square}"), &["build-too-large", "more than 256 MiB", "up to here"]);
    let stages: String =
        (1..600).map(|number| format!("FROM s{} AS s{number}\nENV A{number}={value}\n", number - 1)).collect();
    refused(&format!("FROM scratch AS s0\n{stages}"), &["build-too-large", "more than 256 MiB"]);
}
