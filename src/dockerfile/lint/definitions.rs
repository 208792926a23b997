//! Comments above ARG and FROM: what they define is described there.

use super::Rule;
use super::casing::stage_name;
use crate::diagnostic::{Diagnostic, Spanned};
use crate::dockerfile::ast::{Arguments, Dockerfile, Instruction, Keyword};

/// Returns what the comment above says about `name`: the first line that begins with it, without it.
pub fn docstring<'a>(comments: &'a [Spanned<String>], name: &str) -> Option<&'a str> {
    comments.iter().find_map(|comment| {
        let rest = comment.value.strip_prefix(name)?;
        rest.starts_with(' ').then(|| rest.trim())
    })
}

pub(super) fn check(file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    for instruction in &file.instructions {
        let Some(comment) = instruction.comments.last() else { continue };
        let (keyword, names) = defined(instruction);
        let first = comment.value.split(' ').next().unwrap_or_default();
        if names.is_empty() || names.iter().any(|name| name == first) {
            continue;
        }
        let example = if names.len() > 1 { "<arg_key>" } else { names[0].as_str() };
        let message = format!("Comment for {keyword} should follow the format: `# {example} <description>`");
        found.push(
            Rule::InvalidDefinitionDescription
                .at(instruction.name.span, message)
                .with_also(comment.span, "does not begin with the name")
                .with_help("put an empty comment, `#`, between the two if this describes nothing"),
        );
    }
}

/// Returns the names that ARG or FROM define.
fn defined(instruction: &Instruction) -> (&'static str, Vec<String>) {
    match (instruction.keyword, &instruction.arguments) {
        (Some(Keyword::Arg), Arguments::Declarations(declared)) => {
            ("ARG", declared.iter().map(|declared| declared.name.value.clone()).collect())
        }
        (Some(Keyword::From), _) => {
            ("FROM", stage_name(instruction).map(|name| name.value.to_lowercase()).into_iter().collect())
        }
        _ => ("", Vec::new()),
    }
}
