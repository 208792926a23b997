use crate::sys::Cancel;

use super::Limits;

/// How a tree says what is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TreeForm {
    /// As overlayfs wants its lower directories: a deletion is a character device 0:0, and a directory that hides what
    /// is below it has an attribute.
    Overlay(OverlayXattrs),
    /// Deletions are carried out, on what was in the directory before.
    #[default]
    Plain,
}

/// Where overlayfs keeps its own attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlayXattrs {
    /// `trusted.overlay.*`, which needs the initial user namespace.
    Trusted,
    /// `user.overlay.*`: mounts with option `userxattr`.
    User,
}

impl OverlayXattrs {
    /// Returns the full name of one of overlayfs' own attributes.
    pub fn own(self, name: &str) -> Vec<u8> {
        let prefix = match self {
            OverlayXattrs::Trusted => "trusted.overlay.",
            OverlayXattrs::User => "user.overlay.",
        };
        [prefix, name].concat().into_bytes()
    }
}

/// What to do when the kernel denies an owner or another attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ownership {
    /// Fail.
    #[default]
    Exact,
    /// Go on with what this process may give: its own id, where no other is mapped.
    AsPermitted,
    /// Leave everything to who makes it, where owners mean nothing.
    Nobodys,
}

/// What to do where a file is to be in the place of a directory that is there, or the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Collision {
    /// What is there goes, with all in it.
    #[default]
    Replace,
    /// Fail.
    Refuse,
}

/// How to make a tree.
#[derive(Debug, Clone, Default)]
pub struct TreeOptions {
    /// How deletions are told.
    pub form: TreeForm,
    /// How strict owners are.
    pub ownership: Ownership,
    /// Whether a file may take the place of a directory.
    pub collision: Collision,
    /// What the archive may have at most.
    pub limits: Limits,
    /// Gives up between blocks once it is raised.
    pub cancel: Cancel,
}
