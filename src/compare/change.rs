use crate::layer::{EntryPath, Kind, Metadata, Node};

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where; empty for the root directory.
    pub path: EntryPath,
    /// Whether it came, went or stayed.
    pub kind: ChangeKind,
    /// In what it differs, where it stayed; empty where what was before is not known.
    pub classes: Classes,
    /// What was there, as far as it is known.
    pub before: Option<File>,
    /// What is there now.
    pub after: Option<File>,
}

/// Whether something came, went or stayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is there still, and another.
    Modified,
    /// It is gone.
    Removed,
}

/// What can differ between two files of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// One is a file and the other a directory, say.
    Type,
    /// The bytes of a file, or which device it is.
    Content,
    /// Where a symbolic link leads.
    Link,
    /// Permission, set-id and sticky bits.
    Mode,
    /// User or group.
    Owner,
    /// Extended attributes.
    Xattr,
    /// Modification time.
    Mtime,
}

impl Class {
    /// Every class, in the order in which they are told.
    pub const ALL: [Class; 7] =
        [Class::Type, Class::Content, Class::Link, Class::Mode, Class::Owner, Class::Xattr, Class::Mtime];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Type => "type",
            Class::Content => "content",
            Class::Link => "link",
            Class::Mode => "mode",
            Class::Owner => "owner",
            Class::Xattr => "xattr",
            Class::Mtime => "mtime",
        }
    }
}

/// A set of classes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Classes(u8);

impl Classes {
    /// Returns the set of these.
    pub fn of(classes: &[Class]) -> Classes {
        classes.iter().fold(Classes::default(), |set, &class| Classes(set.0 | 1 << class as u8))
    }

    /// Tells whether a class is among them.
    pub fn has(self, class: Class) -> bool {
        self.0 & 1 << class as u8 != 0
    }

    /// Tells whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Iterates over them in the order of [`Class::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Class> {
        Class::ALL.into_iter().filter(move |&class| self.has(class))
    }
}

/// A file of one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What it is: never a hard link, nor a deletion.
    pub kind: Kind,
    /// The rest.
    pub metadata: Metadata,
    /// The layer of its side that has it, from 0; none for a directory that no layer has an entry for.
    pub layer: Option<u32>,
}

impl File {
    pub(super) fn of(node: &Node) -> File {
        let layer = (node.id.entry != u32::MAX).then_some(node.id.slot);
        File { kind: node.kind.clone(), metadata: node.metadata.clone(), layer }
    }

    /// Returns a directory that is there because something is in it.
    pub(super) fn implied() -> File {
        File::of(&Node::default())
    }

    /// Returns the bytes of its content.
    pub fn size_bytes(&self) -> u64 {
        self.kind.extent().1
    }
}

/// What one side has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Absent,
    /// Whatever the shared layers have, which are not here.
    Unknown,
    Present(File),
}

impl Change {
    /// Returns how two states differ; nothing if they do not, as far as that is known.
    pub(super) fn between(path: &[u8], before: State, after: State) -> Option<Change> {
        let change = |kind, classes, before, after| Some(Change { path: path.to_vec(), kind, classes, before, after });
        let none = Classes::default();
        match (before, after) {
            (State::Present(before), State::Present(after)) => {
                let classes = differing(&before, &after);
                if classes.is_empty() {
                    return None;
                }
                change(ChangeKind::Modified, classes, Some(before), Some(after))
            }
            (State::Absent, State::Present(after)) => change(ChangeKind::Added, none, None, Some(after)),
            (State::Present(before), State::Absent) => change(ChangeKind::Removed, none, Some(before), None),
            (State::Unknown, State::Absent) => change(ChangeKind::Removed, none, None, None),
            (State::Absent, State::Unknown) => change(ChangeKind::Added, none, None, None),
            // Layers repeat the directories above every change; that says nothing.
            (State::Unknown, State::Present(file)) | (State::Present(file), State::Unknown)
                if file.kind == Kind::Directory =>
            {
                None
            }
            (State::Unknown, State::Present(after)) => change(ChangeKind::Modified, none, None, Some(after)),
            (State::Present(before), State::Unknown) => change(ChangeKind::Modified, none, Some(before), None),
            (State::Absent, State::Absent) | (State::Unknown, State::Unknown) => None,
        }
    }
}

fn differing(before: &File, after: &File) -> Classes {
    let mut found = Vec::new();
    match (&before.kind, &after.kind) {
        (Kind::File { digest: a, .. }, Kind::File { digest: b, .. }) if a != b => found.push(Class::Content),
        (Kind::Symlink { target: a }, Kind::Symlink { target: b }) if a != b => found.push(Class::Link),
        (a @ Kind::CharDevice { .. }, b @ Kind::CharDevice { .. })
        | (a @ Kind::BlockDevice { .. }, b @ Kind::BlockDevice { .. })
            if a != b =>
        {
            found.push(Class::Content);
        }
        (a, b) if std::mem::discriminant(a) != std::mem::discriminant(b) => found.push(Class::Type),
        _ => {}
    }
    let (a, b) = (&before.metadata, &after.metadata);
    // Nobody can change the mode of a symbolic link, and archives disagree on what it is.
    let is_link = |file: &File| matches!(file.kind, Kind::Symlink { .. });
    if a.mode != b.mode && !is_link(before) && !is_link(after) {
        found.push(Class::Mode);
    }
    if (a.uid, a.gid) != (b.uid, b.gid) {
        found.push(Class::Owner);
    }
    if a.xattrs != b.xattrs {
        found.push(Class::Xattr);
    }
    if a.mtime.seconds != b.mtime.seconds {
        found.push(Class::Mtime);
    }
    Classes::of(&found)
}
