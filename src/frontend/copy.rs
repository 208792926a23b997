use super::expand::Expander;
use super::remote::{Flags, Remote};
use super::{Problems, all};
use crate::context::{BadPattern, Ignore};
use crate::diagnostic::{Diagnostic, Span, Spanned};
use crate::dockerfile::instruction::{self, CopyFlags, InlineFile, Word};
use crate::graph::{Add, CopyOptions, CopySource, FileAction, Input, Mode, Owner};

/// A COPY or ADD with its words expanded.
pub(super) struct Copying {
    sources: Vec<String>,
    /// What each source is that is no path, with its place in the text.
    remotes: Vec<Option<(Remote, Span)>>,
    inline: Vec<(String, String)>,
    destination: String,
    chown: Option<String>,
    chmod: Option<(String, Mode)>,
    add: Add,
    /// What happens to archives that are fetched.
    add_remote: Add,
    name: &'static str,
    parents: bool,
    exclude: Vec<String>,
    link: bool,
}

impl Copying {
    pub(super) fn copy(copy: &instruction::Copy, expander: Expander<'_>) -> Result<Copying, Problems> {
        let parts = Parts { sources: &copy.sources, inline: &copy.inline, destination: &copy.destination };
        let mut copying = Copying::new("COPY", &parts, &copy.flags, Add::Copy, expander)?;
        copying.parents = copy.parents;
        for (source, word) in copying.sources.iter().zip(&copy.sources) {
            if let Some(kind) = Remote::of(source) {
                let what = if matches!(kind, Ok(Remote::Http(_))) { "a URL" } else { "a git ref" };
                let message = format!("source can't be {what} for COPY");
                let problem = Diagnostic::error("remote-source", message, word.span);
                return Err(problem.with_label("not a path in the context").with_help("ADD fetches files").into());
            }
        }
        Ok(copying)
    }

    pub(super) fn add(add: &instruction::Add, expander: Expander<'_>) -> Result<Copying, Problems> {
        let parts = Parts { sources: &add.sources, inline: &add.inline, destination: &add.destination };
        let archives = if add.unpack == Some(false) { Add::Copy } else { Add::Unpack };
        let mut copying = Copying::new("ADD", &parts, &add.flags, archives, expander)?;
        let checksum = add.checksum.as_ref().map(|word| expander.word(word)).transpose()?;
        let flags = Flags::of(add, checksum.as_deref());
        copying.remotes = all(copying.sources.iter().zip(&add.sources).map(|(source, word)| {
            let remote = Remote::of_add(source, word.span, &flags)?;
            Ok(remote.map(|remote| (remote, word.span)))
        }))?;
        flags.check(copying.sources.len(), copying.remotes.iter().flatten().count())?;
        if add.unpack == Some(true) {
            copying.add_remote = Add::Unpack;
        }
        Ok(copying)
    }

    fn new(
        name: &'static str,
        parts: &Parts<'_>,
        flags: &CopyFlags,
        add: Add,
        expander: Expander<'_>,
    ) -> Result<Copying, Problems> {
        let sources = all(parts.sources.iter().map(|word| expander.word(word)))?;
        let inline = all(parts.inline.iter().map(|file| Ok((file.name.clone(), expander.body(file)?))))?;
        let optional = |word: &Option<Word>| word.as_ref().map(|word| expander.word(word)).transpose();
        let chmod = match (optional(&flags.chmod)?, &flags.chmod) {
            (Some(text), Some(word)) if !text.is_empty() => Some((text.clone(), mode(&text, word.span)?)),
            _ => None,
        };
        let chown = optional(&flags.chown)?.filter(|owner| !owner.is_empty());
        let exclude = all(flags.exclude.iter().map(pattern))?;
        // A mode to set needs the tree below, other builders hold, and copy into it as if nobody asked for a link.
        let link = flags.link && chmod.is_none();
        if let (true, Some(owner), Some(word)) = (link, &chown, &flags.chown) {
            numbers_only(owner, word.span)?;
        }
        let remotes = sources.iter().map(|_| None).collect();
        let destination = expander.word(parts.destination)?;
        let add_remote = Add::Copy;
        Ok(Copying {
            sources,
            remotes,
            inline,
            destination,
            chown,
            chmod,
            add,
            add_remote,
            name,
            parents: false,
            exclude,
            link,
        })
    }

    /// Returns the changes to make, in order; `from` has the tree of each source.
    pub(super) fn actions(&self, from: &[Input], working_directory: &str) -> Vec<FileAction> {
        let options = CopyOptions {
            owner: self.chown.clone().map(|text| Owner { text }),
            mode: self.chmod.as_ref().map(|(_, mode)| mode.clone()),
            add: self.add,
            parents: self.parents,
            exclude: self.exclude.clone(),
        };
        let fetched = CopyOptions { add: self.add_remote, ..options.clone() };
        let path = |(number, path): (usize, &String)| match &self.remotes[number] {
            None => (CopySource::Path { from: from[number], path: path.clone() }, &options),
            Some((remote, _)) => (CopySource::Path { from: from[number], path: remote.path().to_owned() }, &fetched),
        };
        let inline =
            |(name, data): &(String, String)| (CopySource::Inline { name: name.clone(), data: data.clone() }, &options);
        let destination = destination(working_directory, &self.destination);
        let action = |(source, options): (CopySource, &CopyOptions)| FileAction::Copy {
            source,
            destination: destination.clone(),
            options: options.clone(),
        };
        self.sources.iter().enumerate().map(path).chain(self.inline.iter().map(inline)).map(action).collect()
    }

    /// Returns the paths to copy, expanded, in the order of their words.
    pub(super) fn paths(&self) -> &[String] {
        &self.sources
    }

    /// Tells whether the result is a layer of its own, to be put over whatever is below.
    pub(super) fn is_linked(&self) -> bool {
        self.link
    }

    /// Returns what each source is that is no path, in the same order.
    pub(super) fn remotes(&self) -> &[Option<(Remote, Span)>] {
        &self.remotes
    }

    /// Returns whom everything is to belong to; empty where nothing is said.
    pub(super) fn owner(&self) -> &str {
        self.chown.as_deref().unwrap_or_default()
    }

    /// Returns what the history calls it.
    pub(super) fn created_by(&self) -> String {
        let mut text = self.name.to_owned();
        if self.parents {
            text += " --parents";
        }
        let flags = [("chown", self.chown.as_ref()), ("chmod", self.chmod.as_ref().map(|(text, _)| text))];
        for (flag, value) in flags {
            text.extend(value.map(|value| format!(" --{flag}={value}")));
        }
        text.extend(self.sources.iter().map(|source| format!(" {source}")));
        text.extend(self.inline.iter().map(|(name, _)| format!(" <<{name}")));
        format!("{text} {} # buildkit", self.destination)
    }
}

struct Parts<'a> {
    sources: &'a [Word],
    inline: &'a [InlineFile],
    destination: &'a Word,
}

fn pattern(exclude: &Spanned<String>) -> Result<String, Problems> {
    match Ignore::of_patterns(&[&exclude.value]) {
        Ok(_) => Ok(exclude.value.clone()),
        Err(BadPattern) => {
            let message = format!("`{}` is not a pattern", exclude.value);
            let problem = Diagnostic::error("invalid-exclude", message, exclude.span);
            Err(problem.with_help("close the `[`, or write `\\[` for a bracket").into())
        }
    }
}

/// Refuses names as owners of what is linked: the files that would say whom they mean are not below it.
fn numbers_only(owner: &str, span: Span) -> Result<(), Problems> {
    let is_number = |part: &str| matches!(part, "" | "root") || part.bytes().all(|byte| byte.is_ascii_digit());
    let Some(name) = owner.splitn(2, ':').find(|part| !is_number(part)) else { return Ok(()) };
    let problem =
        Diagnostic::error("name-with-link", format!("`{name}` is a name, and --link has no place to look it up"), span)
            .with_label("must be a number here")
            .with_help("write the numbers of the user and the group, or leave out --link");
    Err(problem.into())
}

fn mode(text: &str, span: Span) -> Result<Mode, Problems> {
    Mode::parse(text).map_err(|error| Diagnostic::error("invalid-chmod", error.to_string(), span).into())
}

/// Joins a destination to the working directory; a slash at its end says that it is a directory (section 9.3).
fn destination(working_directory: &str, destination: &str) -> String {
    let is_directory = matches!(destination, "" | ".") || destination.ends_with('/') || destination.ends_with("/.");
    let path = absolute(working_directory, destination);
    if is_directory && path != "/" { path + "/" } else { path }
}

/// Joins `path` to `base` and cleans the result lexically, as Go's `path.Clean` does.
pub(super) fn absolute(base: &str, path: &str) -> String {
    let base = if path.starts_with('/') { "" } else { base };
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Returns the answer to what the language has and kiln cannot build yet.
pub(super) fn not_yet(what: &str, span: Span) -> Diagnostic {
    Diagnostic::error("not-supported-yet", format!("{what} is not supported yet"), span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_absolute_and_keep_saying_that_they_are_directories() {
        for (text, expected) in [
            ("", "/w/"),
            (".", "/w/"),
            ("a", "/w/a"),
            ("a/", "/w/a/"),
            ("a/.", "/w/a/"),
            ("./a/../b", "/w/b"),
            ("/", "/"),
            ("/a//b/", "/a/b/"),
            ("../../x", "/x"),
        ] {
            assert_eq!(destination("/w", text), expected, "{text}");
        }
    }
}
