use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::oci::Digest;

/// Path of an entry: relative to the root, `/`-separated, no leading or trailing slash, any bytes but NUL.
pub type EntryPath = Vec<u8>;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A regular file.
    File {
        /// Content bytes.
        size: u64,
        /// Digest of the content alone.
        digest: Digest,
        /// Where the content starts in the layer's uncompressed tar.
        offset: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Its text.
        target: Vec<u8>,
    },
    /// Another name of a file earlier in the same layer.
    Hardlink {
        /// That file.
        target: EntryPath,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// The lower layers' entry of this path (the marker's own name resolved) is gone.
    Whiteout,
    /// The lower layers' children of this directory are gone.
    Opaque,
}

impl Entry {
    /// Returns what an entry is before anything was read into it: the root directory, with nothing but zeros.
    pub fn blank() -> Entry {
        Entry { path: EntryPath::new(), kind: Kind::Directory, metadata: Metadata::default() }
    }
}

impl Kind {
    /// Returns where in the layer's tar the content starts, and how many bytes it has: none of what is no file.
    pub fn extent(&self) -> (u64, u64) {
        match self {
            Kind::File { size, offset, .. } => (*offset, *size),
            _ => (0, 0),
        }
    }
}

/// Seconds and nanoseconds since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mtime {
    /// Seconds.
    pub seconds: i64,
    /// Below 1,000,000,000. Layers keep whole seconds; trees keep both.
    pub nanoseconds: u32,
}

/// What an entry carries besides its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Metadata {
    /// Permission, set-id and sticky bits: twelve bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Mtime,
    /// Extended attributes by full name. Only `security.capability` goes into a layer's tar; trees get them all.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Metadata {
    /// Compares all but times.
    pub fn is_same_but_for_time(&self, other: &Metadata) -> bool {
        (self.mode, self.uid, self.gid, &self.xattrs) == (other.mode, other.uid, other.gid, &other.xattrs)
    }
}

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// Where; of a whiteout, the path that is gone.
    pub path: EntryPath,
    /// What.
    pub kind: Kind,
    /// The rest.
    pub metadata: Metadata,
}

/// Compares paths as a walk meets them: a directory, then all that is in it, then what follows it.
pub fn in_tree_order(a: &[u8], b: &[u8]) -> Ordering {
    // No name has a byte below the slash's stand-in.
    let key = |byte: u8| if byte == b'/' { 0 } else { byte };
    match a.iter().zip(b).position(|(x, y)| x != y) {
        Some(place) => key(a[place]).cmp(&key(b[place])),
        None => a.len().cmp(&b.len()),
    }
}
