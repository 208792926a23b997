use super::copy::absolute;
use super::expand::Expander;
use super::stages::{Planner, Reader};
use super::{Problems, all};
use crate::context::has_wildcards;
use crate::diagnostic::{Diagnostic, Span, Spanned};
use crate::dockerfile::instruction::{self, MountKind, Sharing, Word};
use crate::dockerfile::{decide_mount, size_bytes};
use crate::graph::{
    self, Access, Add, CopyOptions, CopySource, FileAction, Input, Mount, NodeId, Op, Ownership, SecretVariable,
};
use crate::oci::Platform;

/// The mounts of one RUN (semantics reference, section 10.5).
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) mounts: Vec<Mount>,
    pub(super) secret_env: Vec<SecretVariable>,
    /// Where the first ssh agent is.
    pub(super) agent: Option<String>,
    /// The trees they read, in order, behind the root.
    pub(super) inputs: Vec<NodeId>,
}

/// Where a RUN with mounts stands.
pub(super) struct Site<'a> {
    /// The stage.
    pub(super) stage: usize,
    pub(super) platform: &'a Platform,
    pub(super) working_directory: &'a str,
    pub(super) expander: Expander<'a>,
    /// Number of the first input that is a mount's.
    pub(super) first_input: usize,
}

/// One mount with its words expanded.
struct Expanded {
    kind: MountKind,
    target: Option<String>,
    source: Option<String>,
    from: Option<Spanned<String>>,
    id: Option<String>,
    access: Option<Access>,
    sharing: Option<Sharing>,
    required: bool,
    size_bytes: Option<u64>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    env: Option<String>,
}

/// Plans the mounts of a RUN; nothing where a stage they read cannot be planned, which has been reported.
pub(super) fn plan(
    mounts: &[Spanned<instruction::Mount>],
    site: &Site<'_>,
    planner: &mut Planner<'_>,
) -> Result<Option<Mounts>, Problems> {
    let mut planned = Mounts::default();
    for mount in all(mounts.iter().map(|mount| expand(mount, site)))? {
        if planned.add(mount, site, planner)?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(planned))
}

fn expand(mount: &Spanned<instruction::Mount>, site: &Site<'_>) -> Result<Expanded, Problems> {
    let decided;
    let mount = match mount.value.undecided.is_empty() {
        true => &mount.value,
        false => {
            decided = decide_mount(mount, |word| site.expander.word(word))?;
            &decided
        }
    };
    let text = |word: &Option<Word>| word.as_ref().map(|word| site.expander.word(word)).transpose();
    let number = |word: &Option<Word>, what: &str, radix: u32| {
        let Some(word) = word else { return Ok(None) };
        let text = site.expander.word(word)?;
        u32::from_str_radix(&text, radix).map(Some).map_err(|_| invalid(what, &text, word.span))
    };
    let target = text(&mount.target)?;
    if let (Some(target), Some(word)) = (&target, &mount.target)
        && (target.is_empty() || absolute(site.working_directory, target) == "/")
    {
        let message = format!("invalid mount target `{target}`");
        return Err(Diagnostic::error("mount-target", message, word.span).into());
    }
    let size_bytes = match &mount.size {
        Some(word) => {
            let text = site.expander.word(word)?;
            Some(size_bytes(&text).ok_or_else(|| invalid("size", &text, word.span))?)
        }
        None => None,
    };
    Ok(Expanded {
        kind: mount.kind,
        target,
        source: text(&mount.source)?,
        from: mount.from.clone(),
        id: text(&mount.id)?,
        access: mount.read_only.map(|read_only| if read_only { Access::ReadOnly } else { Access::ReadWrite }),
        sharing: mount.sharing,
        required: mount.required.unwrap_or(false),
        size_bytes,
        mode: number(&mount.mode, "mode", 8)?,
        uid: number(&mount.uid, "uid", 10)?,
        gid: number(&mount.gid, "gid", 10)?,
        env: text(&mount.env)?,
    })
}

fn invalid(what: &str, text: &str, span: Span) -> Problems {
    Diagnostic::error("invalid-mount-value", format!("invalid value for {what}: `{text}`"), span).into()
}

impl Mounts {
    fn add(&mut self, mount: Expanded, site: &Site<'_>, planner: &mut Planner<'_>) -> Result<Option<()>, Problems> {
        match mount.kind {
            MountKind::Bind => return self.bind(&mount, site, planner),
            MountKind::Cache => return self.cache(&mount, site, planner),
            MountKind::Tmpfs => {
                let kind = graph::MountKind::Tmpfs { size_bytes: mount.size_bytes.filter(|size| *size > 0) };
                self.push(&mount, site, kind);
            }
            MountKind::Secret => self.secret(&mount, site),
            MountKind::Ssh => self.agent(&mount, site),
        }
        Ok(Some(()))
    }

    fn push(&mut self, mount: &Expanded, site: &Site<'_>, kind: graph::MountKind) {
        let target = absolute(site.working_directory, mount.target.as_deref().unwrap_or_default());
        self.mounts.push(Mount { target, kind });
    }

    fn input(&mut self, node: NodeId, site: &Site<'_>) -> Input {
        self.inputs.push(node);
        Input((site.first_input + self.inputs.len() - 1) as u32)
    }

    fn bind(&mut self, mount: &Expanded, site: &Site<'_>, planner: &mut Planner<'_>) -> Result<Option<()>, Problems> {
        let path = absolute("/", mount.source.as_deref().unwrap_or_default());
        let Some(tree) = tree(mount, site, planner)? else { return Ok(None) };
        let tree = match planner.graph.node(tree).op {
            // No layers yet: the files have other owners, and among them may be ignored ones.
            Op::Source(graph::Source::Local(_) | graph::Source::Http(_) | graph::Source::Git(_)) => {
                copied(planner, tree, &path, &path)
            }
            _ => tree,
        };
        let from = self.input(tree, site);
        let access = mount.access.unwrap_or(Access::ReadOnly);
        self.push(mount, site, graph::MountKind::Tree { from, path, access });
        Ok(Some(()))
    }

    fn cache(&mut self, mount: &Expanded, site: &Site<'_>, planner: &mut Planner<'_>) -> Result<Option<()>, Problems> {
        let target = mount.target.as_deref().unwrap_or_default();
        let seed = match &mount.from {
            None => None,
            Some(_) => {
                let path = absolute("/", mount.source.as_deref().unwrap_or_default());
                let Some(tree) = tree(mount, site, planner)? else { return Ok(None) };
                let seed = copied(planner, tree, &path, "/");
                Some(self.input(seed, site))
            }
        };
        let is_owned = mount.mode.is_some() || mount.uid.is_some() || mount.gid.is_some();
        let namespace = planner.options.build_args.get("BUILDKIT_CACHE_MOUNT_NS").cloned().unwrap_or_default();
        let id = mount.id.clone().filter(|id| !id.is_empty()).unwrap_or_else(|| clean(target));
        let kind = graph::MountKind::Cache {
            id: if namespace.is_empty() { id } else { format!("{namespace}/{id}") },
            seed,
            owner: is_owned.then(|| mount.ownership(0o755)),
            sharing: match mount.sharing {
                None | Some(Sharing::Shared) => graph::Sharing::Shared,
                Some(Sharing::Private) => graph::Sharing::Private,
                Some(Sharing::Locked) => graph::Sharing::Locked,
            },
            access: mount.access.unwrap_or(Access::ReadWrite),
        };
        self.push(mount, site, kind);
        Ok(Some(()))
    }

    fn secret(&mut self, mount: &Expanded, site: &Site<'_>) {
        let named = mount.id.as_ref().or(mount.source.as_ref()).filter(|id| !id.is_empty());
        let id = named.cloned().or_else(|| mount.target.as_deref().map(|target| base_name(target).to_owned()));
        let id = id.unwrap_or_default();
        if let Some(name) = &mount.env {
            self.secret_env.push(SecretVariable { name: name.clone(), id: id.clone(), required: mount.required });
        }
        let target = match (&mount.target, &mount.env) {
            (Some(target), _) => target.clone(),
            (None, Some(_)) => return,
            (None, None) => format!("/run/secrets/{}", base_name(&id)),
        };
        let kind = graph::MountKind::Secret { id, required: mount.required, owner: mount.ownership(0o400) };
        self.mounts.push(Mount { target: absolute(site.working_directory, &target), kind });
    }

    fn agent(&mut self, mount: &Expanded, site: &Site<'_>) {
        let is_agent = |mount: &&Mount| matches!(mount.kind, graph::MountKind::Agent { .. });
        let number = self.mounts.iter().filter(is_agent).count();
        let target = mount.target.clone().unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{number}"));
        let target = absolute(site.working_directory, &target);
        let id = mount.id.clone().filter(|id| !id.is_empty()).unwrap_or_else(|| "default".to_owned());
        let kind = graph::MountKind::Agent { id, required: mount.required, owner: mount.ownership(0o600) };
        self.agent.get_or_insert_with(|| target.clone());
        self.mounts.push(Mount { target, kind });
    }
}

impl Expanded {
    fn ownership(&self, mode: u32) -> Ownership {
        Ownership { mode: self.mode.unwrap_or(mode) & 0o7777, uid: self.uid.unwrap_or(0), gid: self.gid.unwrap_or(0) }
    }
}

/// Returns the tree that a mount reads; nothing where its stage cannot be planned.
fn tree(mount: &Expanded, site: &Site<'_>, planner: &mut Planner<'_>) -> Result<Option<NodeId>, Problems> {
    let Some(from) = &mount.from else { return Ok(Some(planner.context())) };
    let target = mount.target.clone().unwrap_or_default();
    planner.tree_of(site.stage, from, &Reader::Mount { target }, site.platform)
}

/// Returns a node with a copy of `path` at `destination`, over nothing.
fn copied(planner: &mut Planner<'_>, tree: NodeId, path: &str, destination: &str) -> NodeId {
    let source = CopySource::Path { from: Input(0), path: literal(path) };
    let options = CopyOptions { add: Add::Copy, ..CopyOptions::default() };
    let action = FileAction::Copy { source, destination: destination.to_owned(), options };
    let file = graph::File { base: None, actions: vec![action] };
    planner.add(Op::File(file), vec![tree], format!("[internal] prepare the mount of {path}"), None)
}

/// Returns a path that means itself where paths may have wildcards: each of those becomes a class of one.
fn literal(path: &str) -> String {
    if !has_wildcards(path) {
        return path.to_owned();
    }
    let mut escaped = String::with_capacity(path.len());
    for character in path.chars() {
        match character {
            '*' | '?' | '[' => escaped.extend(['[', character, ']']),
            '\\' => escaped.push_str(r"[\\]"),
            _ => escaped.push(character),
        }
    }
    escaped
}

fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// Cleans a path lexically and keeps it relative where it is, as Go's `path.Clean` does.
fn clean(path: &str) -> String {
    match path.strip_prefix('/') {
        Some(_) => absolute("/", path),
        None => match absolute("/", path).trim_start_matches('/') {
            "" => ".".to_owned(),
            cleaned => cleaned.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_caches_are_cleaned_targets() {
        for (target, expected) in [("/a//b/", "/a/b"), ("a/./b", "a/b"), ("./a", "a"), ("/", "/")] {
            assert_eq!(clean(target), expected, "{target}");
        }
    }

    #[test]
    fn names_of_secrets_are_the_last_component() {
        for (path, expected) in [("/run/secrets/a", "a"), ("a", "a"), ("a/b/", "b"), ("", "")] {
            assert_eq!(base_name(path), expected, "{path}");
        }
    }
}
