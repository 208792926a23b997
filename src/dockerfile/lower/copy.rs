use std::collections::HashMap;

use super::flags::{Flags, spanned};
use super::run::without_tabs;
use super::{Problems, words};
use crate::diagnostic::{Diagnostic, Span, Spanned};
use crate::dockerfile::ast::{Heredoc, Instruction};
use crate::dockerfile::instruction::{Add, Copy, CopyFlags, InlineFile, Word};

pub(super) fn copy(instruction: &Instruction, flags: &Flags<'_>, problems: &mut Problems) -> Option<Copy> {
    // An empty value is none.
    let from = flags.spanned("from").filter(|from| !from.value.is_empty());
    if let Some(from) = &from {
        no_variable(from, problems);
    }
    let paths = paths(instruction, problems)?;
    Some(Copy {
        from,
        sources: paths.sources,
        inline: paths.inline,
        destination: paths.destination,
        flags: shared(flags),
        parents: flags.boolean("parents").unwrap_or(false),
    })
}

pub(super) fn add(instruction: &Instruction, flags: &Flags<'_>, problems: &mut Problems) -> Option<Add> {
    let paths = paths(instruction, problems)?;
    Some(Add {
        sources: paths.sources,
        inline: paths.inline,
        destination: paths.destination,
        flags: shared(flags),
        keep_git_dir: flags.boolean("keep-git-dir"),
        checksum: flags.spanned("checksum"),
        unpack: flags.boolean("unpack"),
    })
}

fn shared(flags: &Flags<'_>) -> CopyFlags {
    CopyFlags {
        chown: flags.spanned("chown"),
        chmod: flags.spanned("chmod"),
        link: flags.boolean("link").unwrap_or(false),
        exclude: flags.values("exclude").map(spanned).collect(),
    }
}

fn no_variable(from: &Spanned<String>, problems: &mut Problems) {
    if !from.value.contains('$') {
        return;
    }
    problems.push(
        Diagnostic::error("variable-in-from", "variable expansion is not supported for `--from`", from.span)
            .with_label("would be taken literally")
            .with_help(
                "define a stage with `FROM $variable AS name`, the ARG above the first FROM, and copy from that",
            ),
    );
}

/// More than a Dockerfile has bytes: only one body under one name, over and over, comes to more.
const MOST_INLINE_BYTES: usize = 64 << 20;

struct Paths {
    sources: Vec<Word>,
    inline: Vec<InlineFile>,
    destination: Word,
}

/// Sorts the words of COPY and ADD: the last is the destination, and a heredoc's marker is the file it opens.
fn paths(instruction: &Instruction, problems: &mut Problems) -> Option<Paths> {
    let mut sources = words(&instruction.arguments)?;
    let destination = sources.pop()?;
    let heredocs = &instruction.heredocs;
    let markers: HashMap<Span, &Heredoc> = heredocs.iter().map(|heredoc| (heredoc.marker, heredoc)).collect();
    let opened = |word: &Word| markers.get(&word.span).copied();
    if opened(&destination).is_some() {
        let name = instruction.keyword?.as_str();
        let message = format!("{name} cannot accept a heredoc as a destination");
        problems.push(
            Diagnostic::error("heredoc-destination", message, destination.span)
                .with_label("the last word is the destination"),
        );
        return None;
    }
    for slashed in sources.iter().filter_map(opened).filter(|heredoc| heredoc.name.contains('/')) {
        let message = format!("a heredoc named `{}` cannot be a file", slashed.name);
        problems.push(
            Diagnostic::error("heredoc-name", message, slashed.marker)
                .with_label("holds a slash")
                .with_help("the file is named after the delimiter; its directory is the destination"),
        );
    }
    // Later ones replace earlier ones of their name.
    let last: HashMap<&str, &Heredoc> = heredocs.iter().map(|heredoc| (heredoc.name.as_str(), heredoc)).collect();
    let files = || sources.iter().filter_map(opened).map(|heredoc| (heredoc, last[heredoc.name.as_str()]));
    if files().map(|(_, last)| last.body.value.len()).sum::<usize>() > MOST_INLINE_BYTES {
        let message = format!("the files of one instruction take more than {} MiB", MOST_INLINE_BYTES >> 20);
        problems.push(Diagnostic::error("heredocs-too-large", message, destination.span));
        return None;
    }
    let inline = files().map(|(heredoc, last)| file(heredoc, last)).collect();
    sources.retain(|word| opened(word).is_none());
    Some(Paths { sources, inline, destination })
}

/// Returns the file that a heredoc is. Of several with one name all get the body of the last, as other builders do it.
fn file(heredoc: &Heredoc, last: &Heredoc) -> InlineFile {
    let body = if heredoc.chomp { without_tabs(&last.body.value) } else { last.body.value.clone() };
    InlineFile { name: heredoc.name.clone(), body: Spanned::new(body, last.body.span), expand: heredoc.expand }
}
