//! A layer as an EROFS image: the tree that [`materialize`](super::materialize) makes, without making its files.
//!
//! The image holds names and metadata; contents stay where they are, in the layer's uncompressed tar, which the image
//! names as its second device. Blocks are of 512 bytes, as tar's are, so that every content begins at one.
//!
//! ```text
//!  0        1024        1152      1280      1536                          data
//!  (unused) superblock  devices   (unused)  inodes, each with its         blocks of directories
//!                                           attributes and its chunk      and of long links
//! ```
//!
//! The format is described in the kernel's `fs/erofs/erofs_fs.h` and `Documentation/filesystems/erofs.rst`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::view::implied_directory;
use super::{Index, Kind, Metadata, OverlayXattrs};

const BLOCK_BITS: u32 = 9;
const BLOCK: u64 = 1 << BLOCK_BITS;
const SUPERBLOCK_OFFSET: usize = 1024;
const MAGIC: u32 = 0xE0F5_E1E2;
const CHUNKED_FILE: u32 = 0x4;
const DEVICE_TABLE: u32 = 0x8;
/// Device slots have 128 bytes; the table follows the superblock.
const DEVICE_SLOT: u16 = 9;
/// First block of the inodes.
const META_BLOCK: u64 = 3;
/// Inodes begin at multiples of this, and are numbered by it.
const SLOT: u64 = 32;
/// An extended inode.
const INODE: u64 = 64;
const EXTENDED: u16 = 1;
const FLAT_PLAIN: u16 = 0;
const FLAT_INLINE: u16 = 2;
const CHUNK_BASED: u16 = 4;
/// Chunks are told by eight bytes: no flags, a device, a block.
const CHUNK_INDEXES: u32 = 0x20;
const CHUNK_INDEX: u64 = 8;
const DIRENT: usize = 12;
const XATTR_HEADER: u64 = 12;

/// Prefixes of attributes that the format has a number for.
const PREFIXES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];

/// A layer that the format, or this writer, has no image of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the layer has no EROFS image: {0}")]
pub struct Unfit(&'static str);

/// The image of one layer, laid out and not yet written.
pub struct Image {
    nodes: Vec<Node>,
    /// Bytes of the device with the contents.
    device_bytes: u64,
    /// First block after the inodes.
    data_block: u64,
    /// Blocks of the whole image.
    blocks: u64,
}

struct Node {
    what: What,
    metadata: Metadata,
    links: u32,
    /// Attributes as they are stored.
    xattrs: Vec<u8>,
    /// From the start of the inodes.
    offset: u64,
    /// First block of its data, and how many there are, for what has blocks of its own.
    block: u64,
    blocks: u64,
}

enum What {
    File { size: u64, offset: u64 },
    Directory { children: BTreeMap<Vec<u8>, usize>, parent: usize },
    Symlink { target: Vec<u8> },
    Device { is_block: bool, major: u32, minor: u32 },
    Fifo,
    Whiteout,
}

const ROOT: usize = 0;

impl Image {
    /// Lays out the tree of a layer whose tar has `tar_bytes`, in overlayfs lower form with marks in `xattrs`.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn new(index: &Index, tar_bytes: u64, xattrs: OverlayXattrs) -> Result<Image, Unfit> {
        let mut image = Image {
            nodes: vec![directory(implied_directory(), ROOT)],
            device_bytes: tar_bytes,
            data_block: 0,
            blocks: 0,
        };
        for entry in index.entries() {
            image.add(&entry.path, &entry.kind, &entry.metadata, xattrs)?;
        }
        image.lay_out()?;
        Ok(image)
    }

    /// Returns mode, owner and times of the root.
    pub fn root(&self) -> &Metadata {
        &self.nodes[ROOT].metadata
    }

    fn add(&mut self, path: &[u8], kind: &Kind, metadata: &Metadata, xattrs: OverlayXattrs) -> Result<(), Unfit> {
        if let Kind::Opaque = kind {
            let place = self.enter(path, xattrs)?;
            self.hide(place, xattrs);
            return Ok(());
        }
        if path.is_empty() {
            self.nodes[ROOT].metadata = metadata.clone();
            return Ok(());
        }
        let (above, name) = super::view::split(path);
        let parent = self.enter(above, xattrs)?;
        let there = self.children(parent).get(name).copied();
        let what = match kind {
            Kind::Whiteout => {
                match there.map(|there| (there, &self.nodes[there].what)) {
                    // It is this layer's own, which stands in place of what is deleted.
                    Some((there, What::Directory { .. })) => self.hide(there, xattrs),
                    Some(_) => {}
                    None => self.put(parent, name, Node::new(What::Whiteout, Metadata::default())),
                }
                return Ok(());
            }
            Kind::Hardlink { target } => {
                let target = self.find(target).ok_or(Unfit("a hard link leads nowhere"))?;
                if let What::Directory { .. } | What::Whiteout = self.nodes[target].what {
                    return Err(Unfit("a hard link leads to no file"));
                }
                self.children_mut(parent).insert(name.to_vec(), target);
                return Ok(());
            }
            Kind::Directory => {
                match there.map(|there| (there, &self.nodes[there].what)) {
                    Some((there, What::Directory { .. })) => {
                        // Marks of overlayfs are kiln's own, and stay.
                        let own = self.nodes[there].metadata.xattrs.remove(&xattrs.own("opaque"));
                        self.nodes[there].metadata = metadata.clone();
                        if own.is_some() {
                            self.hide(there, xattrs);
                        }
                    }
                    _ => {
                        self.make_directory(parent, name, metadata.clone(), xattrs);
                    }
                }
                return Ok(());
            }
            Kind::File { size, offset, .. } => {
                if *size > 0 && offset % BLOCK != 0 {
                    return Err(Unfit("a content begins in the middle of a block"));
                }
                What::File { size: *size, offset: *offset }
            }
            Kind::Symlink { target } => What::Symlink { target: target.clone() },
            Kind::CharDevice { major, minor } => What::Device { is_block: false, major: *major, minor: *minor },
            Kind::BlockDevice { major, minor } => What::Device { is_block: true, major: *major, minor: *minor },
            Kind::Fifo => What::Fifo,
            Kind::Opaque => return Ok(()),
        };
        self.put(parent, name, Node::new(what, metadata.clone()));
        Ok(())
    }

    /// Returns the directory at `path`, making what is missing of it.
    fn enter(&mut self, path: &[u8], xattrs: OverlayXattrs) -> Result<usize, Unfit> {
        let mut place = ROOT;
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            place = match self.children(place).get(name).map(|&there| (there, &self.nodes[there].what)) {
                Some((there, What::Directory { .. })) => there,
                None | Some((_, What::Whiteout)) => self.make_directory(place, name, implied_directory(), xattrs),
                Some(_) => return Err(Unfit("a path leads through something that is no directory")),
            };
        }
        Ok(place)
    }

    fn make_directory(&mut self, parent: usize, name: &[u8], metadata: Metadata, xattrs: OverlayXattrs) -> usize {
        let there = self.children(parent).get(name).map(|&there| &self.nodes[there].what);
        let was_deleted = matches!(there, Some(What::Whiteout));
        let place = self.nodes.len();
        self.put(parent, name, directory(metadata, parent));
        // A directory in place of a deleted one has nothing of it.
        if was_deleted {
            self.hide(place, xattrs);
        }
        place
    }

    fn hide(&mut self, place: usize, xattrs: OverlayXattrs) {
        self.nodes[place].metadata.xattrs.insert(xattrs.own("opaque"), b"y".to_vec());
    }

    /// Gives a node a name, in place of what had it.
    fn put(&mut self, parent: usize, name: &[u8], node: Node) {
        let place = self.nodes.len();
        self.nodes.push(node);
        self.children_mut(parent).insert(name.to_vec(), place);
    }

    fn children(&self, place: usize) -> &BTreeMap<Vec<u8>, usize> {
        match &self.nodes[place].what {
            What::Directory { children, .. } => children,
            _ => unreachable!("only directories are entered"),
        }
    }

    fn children_mut(&mut self, place: usize) -> &mut BTreeMap<Vec<u8>, usize> {
        match &mut self.nodes[place].what {
            What::Directory { children, .. } => children,
            _ => unreachable!("only directories are entered"),
        }
    }

    fn find(&self, path: &[u8]) -> Option<usize> {
        let mut place = ROOT;
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            let What::Directory { children, .. } = &self.nodes[place].what else { return None };
            place = *children.get(name)?;
        }
        Some(place)
    }

    /// Gives every inode that has a name its place, in the order of a walk, and then all data theirs.
    fn lay_out(&mut self) -> Result<(), Unfit> {
        let mut order = vec![ROOT];
        let mut seen = vec![false; self.nodes.len()];
        let mut next = 0;
        while let Some(&place) = order.get(next) {
            if let What::Directory { children, .. } = &self.nodes[place].what {
                for &child in children.values() {
                    if !std::mem::replace(&mut seen[child], true) {
                        order.push(child);
                    }
                }
            }
            next += 1;
        }
        self.count_links(&order);
        let mut end = 0;
        for &place in &order {
            let node = &mut self.nodes[place];
            node.xattrs = stored(&node.metadata.xattrs)?;
            node.offset = node.fitting(end);
            end = (node.offset + node.bytes()).next_multiple_of(SLOT);
        }
        self.data_block = META_BLOCK + end.div_ceil(BLOCK);
        let mut block = self.data_block;
        for &place in &order {
            let blocks = match &self.nodes[place].what {
                What::Directory { .. } => self.dirents(place).len() as u64,
                What::Symlink { target } if !self.nodes[place].is_inline() => (target.len() as u64).div_ceil(BLOCK),
                _ => 0,
            };
            (self.nodes[place].block, self.nodes[place].blocks) = (block, blocks);
            block += blocks;
        }
        self.blocks = block;
        if u32::try_from(block).is_err() || u32::try_from(self.device_bytes.div_ceil(BLOCK)).is_err() {
            return Err(Unfit("it is too large"));
        }
        self.order(order);
        Ok(())
    }

    fn count_links(&mut self, order: &[usize]) {
        self.nodes[ROOT].links = 2;
        for &place in order {
            let What::Directory { children, .. } = &self.nodes[place].what else { continue };
            for child in children.values().copied().collect::<Vec<_>>() {
                if let What::Directory { .. } = self.nodes[child].what {
                    self.nodes[child].links = 2;
                    self.nodes[place].links += 1;
                } else {
                    self.nodes[child].links += 1;
                }
            }
        }
    }

    /// Keeps the nodes that have a name, in this order.
    fn order(&mut self, order: Vec<usize>) {
        let mut new = vec![usize::MAX; self.nodes.len()];
        order.iter().enumerate().for_each(|(place, &old)| new[old] = place);
        let mut nodes: Vec<Option<Node>> = self.nodes.drain(..).map(Some).collect();
        self.nodes = order.into_iter().filter_map(|old| nodes[old].take()).collect();
        for node in &mut self.nodes {
            if let What::Directory { children, parent } = &mut node.what {
                *parent = new[*parent];
                children.values_mut().for_each(|child| *child = new[*child]);
            }
        }
    }

    /// Returns the names of a directory, block by block: in each as many as fit, all in byte order.
    fn dirents(&self, place: usize) -> Vec<Vec<(&[u8], usize)>> {
        let What::Directory { children, parent } = &self.nodes[place].what else { return Vec::new() };
        let mut names: Vec<(&[u8], usize)> = children.iter().map(|(name, &child)| (&name[..], child)).collect();
        names.extend([(&b"."[..], place), (&b".."[..], *parent)]);
        names.sort_unstable();
        let mut blocks: Vec<Vec<(&[u8], usize)>> = Vec::new();
        let mut used = usize::MAX;
        for entry in names {
            let bytes = DIRENT + entry.0.len();
            match blocks.last_mut() {
                Some(block) if used + bytes <= BLOCK as usize => {
                    block.push(entry);
                    used += bytes;
                }
                _ => {
                    blocks.push(vec![entry]);
                    used = bytes;
                }
            }
        }
        blocks
    }

    /// Writes the image.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.head())?;
        let mut at = 0;
        for (number, node) in self.nodes.iter().enumerate() {
            zeros(out, node.offset - at)?;
            let bytes = self.inode(node, number as u32 + 1);
            out.write_all(&bytes)?;
            at = node.offset + bytes.len() as u64;
        }
        zeros(out, (self.data_block - META_BLOCK) * BLOCK - at)?;
        for (place, node) in self.nodes.iter().enumerate() {
            match &node.what {
                What::Directory { .. } => {
                    for block in self.dirents(place) {
                        out.write_all(&self.directory_block(&block))?;
                    }
                }
                What::Symlink { target } if !node.is_inline() => {
                    out.write_all(target)?;
                    zeros(out, (target.len() as u64).next_multiple_of(BLOCK) - target.len() as u64)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns everything before the inodes.
    fn head(&self) -> Vec<u8> {
        let mut head = vec![0; (META_BLOCK * BLOCK) as usize];
        let mut put = |offset: usize, bytes: &[u8]| {
            head[SUPERBLOCK_OFFSET + offset..SUPERBLOCK_OFFSET + offset + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &MAGIC.to_le_bytes());
        put(12, &[BLOCK_BITS as u8]);
        // The root is the first inode.
        put(14, &0u16.to_le_bytes());
        put(16, &(self.nodes.len() as u64).to_le_bytes());
        put(36, &(self.blocks as u32).to_le_bytes());
        put(40, &(META_BLOCK as u32).to_le_bytes());
        put(80, &(CHUNKED_FILE | DEVICE_TABLE).to_le_bytes());
        put(86, &1u16.to_le_bytes());
        put(88, &DEVICE_SLOT.to_le_bytes());
        let slot = usize::from(DEVICE_SLOT) * 128 - SUPERBLOCK_OFFSET;
        put(slot + 64, &(self.device_bytes.div_ceil(BLOCK) as u32).to_le_bytes());
        head
    }

    fn inode(&self, node: &Node, number: u32) -> Vec<u8> {
        let (layout, size, union) = match &node.what {
            What::File { size: 0, .. } | What::Fifo => (FLAT_PLAIN, 0, 0),
            What::File { size, .. } => (CHUNK_BASED, *size, CHUNK_INDEXES | (chunk_bits(*size) - BLOCK_BITS)),
            What::Directory { .. } => (FLAT_PLAIN, node.blocks * BLOCK, node.block as u32),
            What::Symlink { target } if node.is_inline() => (FLAT_INLINE, target.len() as u64, 0),
            What::Symlink { target } => (FLAT_PLAIN, target.len() as u64, node.block as u32),
            What::Device { major, minor, .. } => (FLAT_PLAIN, 0, device(*major, *minor)),
            What::Whiteout => (FLAT_PLAIN, 0, 0),
        };
        let xattr_count = match node.xattrs.len() as u64 {
            0 => 0,
            bytes => (bytes - XATTR_HEADER) / 4 + 1,
        };
        let mut bytes = Vec::with_capacity(INODE as usize + node.xattrs.len() + 16);
        bytes.extend((EXTENDED | (layout << 1)).to_le_bytes());
        bytes.extend((xattr_count as u16).to_le_bytes());
        bytes.extend((node.what.format() | (node.metadata.mode as u16 & 0o7777)).to_le_bytes());
        bytes.extend([0; 2]);
        bytes.extend(size.to_le_bytes());
        bytes.extend(union.to_le_bytes());
        bytes.extend(number.to_le_bytes());
        bytes.extend(node.metadata.uid.to_le_bytes());
        bytes.extend(node.metadata.gid.to_le_bytes());
        bytes.extend(node.metadata.mtime.seconds.to_le_bytes());
        bytes.extend(node.metadata.mtime.nanoseconds.to_le_bytes());
        bytes.extend(node.links.to_le_bytes());
        bytes.resize(INODE as usize, 0);
        bytes.extend(&node.xattrs);
        match &node.what {
            What::File { size, offset } if *size > 0 => {
                bytes.resize(bytes.len().next_multiple_of(8), 0);
                bytes.extend([0; 2]);
                bytes.extend(1u16.to_le_bytes());
                bytes.extend(((offset / BLOCK) as u32).to_le_bytes());
            }
            What::Symlink { target } if node.is_inline() => bytes.extend(target),
            _ => {}
        }
        bytes
    }

    fn directory_block(&self, entries: &[(&[u8], usize)]) -> Vec<u8> {
        let mut block = Vec::with_capacity(BLOCK as usize);
        let mut name_offset = entries.len() * DIRENT;
        for (name, child) in entries {
            let node = &self.nodes[*child];
            block.extend((node.offset / SLOT).to_le_bytes());
            block.extend((name_offset as u16).to_le_bytes());
            block.extend([node.what.dirent_type(), 0]);
            name_offset += name.len();
        }
        for (name, _) in entries {
            block.extend(*name);
        }
        block.resize(BLOCK as usize, 0);
        block
    }
}

fn directory(metadata: Metadata, parent: usize) -> Node {
    Node::new(What::Directory { children: BTreeMap::new(), parent }, metadata)
}

impl Node {
    fn new(what: What, metadata: Metadata) -> Node {
        Node { what, metadata, links: 0, xattrs: Vec::new(), offset: 0, block: 0, blocks: 0 }
    }

    /// Returns where the inode may begin, at `end` or after it: what follows it within must not cross a block.
    fn fitting(&self, end: u64) -> u64 {
        let What::Symlink { target } = &self.what else { return end };
        let (start, length) = (INODE + self.xattrs.len() as u64, target.len() as u64);
        let crosses = (end + start) / BLOCK != (end + start + length).saturating_sub(1) / BLOCK;
        if self.is_inline() && crosses { end.next_multiple_of(BLOCK) } else { end }
    }

    fn is_inline(&self) -> bool {
        match &self.what {
            What::Symlink { target } => INODE + (self.xattrs.len() + target.len()) as u64 <= BLOCK,
            _ => false,
        }
    }

    /// Returns how many bytes it has among the inodes.
    fn bytes(&self) -> u64 {
        let bytes = INODE + self.xattrs.len() as u64;
        match &self.what {
            What::File { size, .. } if *size > 0 => bytes.next_multiple_of(8) + CHUNK_INDEX,
            What::Symlink { target } if self.is_inline() => bytes + target.len() as u64,
            _ => bytes,
        }
    }
}

impl What {
    /// Returns the type bits of the mode.
    fn format(&self) -> u16 {
        match self {
            What::File { .. } => 0o100_000,
            What::Directory { .. } => 0o040_000,
            What::Symlink { .. } => 0o120_000,
            What::Device { is_block: true, .. } => 0o060_000,
            What::Device { .. } | What::Whiteout => 0o020_000,
            What::Fifo => 0o010_000,
        }
    }

    fn dirent_type(&self) -> u8 {
        match self {
            What::File { .. } => 1,
            What::Directory { .. } => 2,
            What::Device { is_block: false, .. } | What::Whiteout => 3,
            What::Device { .. } => 4,
            What::Fifo => 5,
            What::Symlink { .. } => 7,
        }
    }
}

/// Returns the size of a chunk that holds the whole file.
fn chunk_bits(size: u64) -> u32 {
    size.next_power_of_two().trailing_zeros().max(BLOCK_BITS)
}

/// Returns a device number as the kernel's `new_encode_dev` has it.
fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// Returns attributes as they follow an inode; nothing where there are none.
fn stored(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<Vec<u8>, Unfit> {
    if xattrs.is_empty() {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; XATTR_HEADER as usize];
    for (name, value) in xattrs {
        let known = PREFIXES.iter().find_map(|(prefix, number)| Some((name.strip_prefix(*prefix)?, *number)));
        let (rest, number) = known.ok_or(Unfit("an extended attribute has no number"))?;
        let length = u8::try_from(rest.len()).map_err(|_| Unfit("the name of an attribute is too long"))?;
        let size = u16::try_from(value.len()).map_err(|_| Unfit("an attribute is too large"))?;
        bytes.extend([length, number]);
        bytes.extend(size.to_le_bytes());
        bytes.extend(rest);
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    if bytes.len() > usize::from(u16::MAX) {
        return Err(Unfit("attributes are too large"));
    }
    Ok(bytes)
}

fn zeros(out: &mut impl Write, count: u64) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), count), out).map(drop)
}

#[cfg(test)]
mod tests;
