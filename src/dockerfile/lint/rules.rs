//! The rules: what each is called, what it is for, and when it speaks.

use crate::diagnostic::{Diagnostic, Span};

/// Who made a rule, or what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// BuildKit's own, under its names and with its texts.
    BuildKit,
    /// kiln's, about scripts that go on after a failure or cannot run at all.
    Scripts,
    /// kiln's, about installing packages.
    Packages,
    /// kiln's, about images that change under one's feet.
    Bases,
    /// kiln's, about what must not be in an image.
    Secrets,
}

impl Group {
    /// Returns the name for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Group::BuildKit => "BuildKit",
            Group::Scripts => "scripts",
            Group::Packages => "packages",
            Group::Bases => "bases",
            Group::Secrets => "secrets",
        }
    }
}

/// When a rule speaks that nobody has mentioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// In a build and in a check.
    Always,
    /// In a check alone: a build must not be drowned in advice.
    Check,
    /// Where `experimental=` names it.
    Asked,
}

impl Level {
    /// Returns the name for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Always => "build, check",
            Level::Check => "check",
            Level::Asked => "on request",
        }
    }
}

macro_rules! rules {
    ($($rule:ident $group:ident $level:ident $fix:literal $description:literal;)*) => {
        /// A lint rule; its name is the code of its findings.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $(#[doc = $description] $rule,)*
        }

        impl Rule {
            /// All of them: BuildKit's, then kiln's.
            pub const ALL: &[Rule] = &[$(Rule::$rule,)*];

            /// Returns the name that messages and controls use.
            pub const fn name(self) -> &'static str {
                match self { $(Rule::$rule => stringify!($rule),)* }
            }

            /// Returns what it asks for, in a sentence.
            pub const fn description(self) -> &'static str {
                match self { $(Rule::$rule => $description,)* }
            }

            /// Returns who made it, or what it is about.
            pub const fn group(self) -> Group {
                match self { $(Rule::$rule => Group::$group,)* }
            }

            /// Returns when it speaks.
            pub const fn level(self) -> Level {
                match self { $(Rule::$rule => Level::$level,)* }
            }

            /// Tells whether some of its findings have a safe mechanical fix.
            pub const fn is_fixable(self) -> bool {
                match self { $(Rule::$rule => $fix,)* }
            }
        }
    };
}

// BuildKit's descriptions are part of its JSON, and therefore verbatim.
rules! {
    StageNameCasing BuildKit Always true "Stage names should be lowercase";
    FromAsCasing BuildKit Always true "The 'as' keyword should match the case of the 'from' keyword";
    NoEmptyContinuation BuildKit Always true "Empty continuation lines will become errors in a future release";
    ConsistentInstructionCasing BuildKit Always true
        "All commands within the Dockerfile should use the same casing (either upper or lower)";
    DuplicateStageName BuildKit Always false "Stage names should be unique";
    ReservedStageName BuildKit Always false "Reserved words should not be used as stage names";
    JSONArgsRecommended BuildKit Always false
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals";
    MaintainerDeprecated BuildKit Always true
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author";
    UndefinedArgInFrom BuildKit Always false "FROM command must use declared ARGs";
    UndefinedVar BuildKit Always false "Variables should be defined before their use";
    WorkdirRelativePath BuildKit Always false
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes";
    MultipleInstructionsDisallowed BuildKit Always false
        "Multiple instructions of the same type should not be used in the same stage";
    LegacyKeyValueFormat BuildKit Always true "Legacy key/value format with whitespace separator should not be used";
    InvalidBaseImagePlatform BuildKit Always false "Base image platform does not match expected target platform";
    RedundantTargetPlatform BuildKit Always true
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior";
    SecretsUsedInArgOrEnv BuildKit Always false "Sensitive data should not be used in the ARG or ENV commands";
    InvalidDefaultArgInFrom BuildKit Always false
        "Default value for global ARG results in an empty or invalid base image name";
    FromPlatformFlagConstDisallowed BuildKit Always false "FROM --platform flag should not use a constant value";
    CopyIgnoredFile BuildKit Always false "Attempting to Copy file that is excluded by .dockerignore";
    InvalidDefinitionDescription BuildKit Asked false
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.";
    ExposeProtoCasing BuildKit Always true "Protocol in EXPOSE instruction should be lowercase";
    ExposeInvalidFormat BuildKit Always false
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release";

    CrlfInScript Scripts Always false
        "A script with Windows line endings does not run: its interpreter is sought under a name that ends in a carriage return";
    HeredocWithoutErrexit Scripts Check false
        "A heredoc of several commands goes on after one of them fails, unless it begins with `set -e`";
    PipeWithoutPipefail Scripts Check false
        "A pipe succeeds where only its last command does, unless the shell's option pipefail is set";
    AptGetWithoutYes Packages Check false "apt-get install asks before it does anything, and nobody answers during a build";
    AptGetWithoutUpdate Packages Check false
        "apt-get update belongs into the RUN that installs: alone it is cached, and the lists grow stale";
    AptGetListsKept Packages Check false "The lists of apt-get update stay in the layer unless the same RUN removes them";
    AptGetRecommends Packages Asked false "apt-get install brings recommended packages along without --no-install-recommends";
    UnpinnedBaseImage Bases Check false "A base image without a tag, or with latest, is another one every few weeks";
    BaseImageWithoutDigest Bases Asked false "Only a base image with a digest is always the same";
    BrokenTrigger Bases Always false "An image keeps an ONBUILD trigger as it is, and the builds that start from the image fail on it";
    SecretValue Secrets Always false "Keys and tokens that stand in a Dockerfile end in the image or its history";
}

impl Rule {
    /// Returns the rule of this name.
    pub fn named(name: &str) -> Option<Rule> {
        Rule::ALL.iter().copied().find(|rule| rule.name() == name)
    }

    /// Returns the page that explains it; only BuildKit's have one.
    pub fn url(self) -> Option<String> {
        (self.group() == Group::BuildKit)
            .then(|| format!("https://docs.docker.com/go/dockerfile/rule/{}/", kebab(self.name())))
    }

    /// Returns a finding at `span`.
    pub fn at(self, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::warning(self.name(), message, span)
    }
}

/// Returns `JSONArgsRecommended` as `json-args-recommended`.
fn kebab(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut text = String::new();
    for (place, letter) in letters.iter().enumerate() {
        let after_word = place > 0 && letters[place - 1].is_lowercase();
        let before_word = place > 0 && letters.get(place + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && (after_word || before_word) {
            text.push('-');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buildkits_rules_are_all_there_and_have_their_pages() {
        let buildkit = Rule::ALL.iter().filter(|rule| rule.group() == Group::BuildKit);
        assert_eq!(buildkit.count(), 22);
        for (rule, page) in [
            (Rule::JSONArgsRecommended, "json-args-recommended"),
            (Rule::SecretsUsedInArgOrEnv, "secrets-used-in-arg-or-env"),
            (Rule::FromPlatformFlagConstDisallowed, "from-platform-flag-const-disallowed"),
        ] {
            assert_eq!(rule.url().unwrap(), format!("https://docs.docker.com/go/dockerfile/rule/{page}/"));
        }
        assert_eq!(Rule::named("SecretValue"), Some(Rule::SecretValue));
        assert_eq!(Rule::SecretValue.url(), None);
    }
}
