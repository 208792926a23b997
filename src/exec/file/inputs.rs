use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::Selection;
use super::select::{Item, numbers, shape, xattrs};
use super::source::{Node, Shape};
use crate::cache::Input;
use crate::layer::in_tree_order;
use crate::oci::Hasher;

impl Selection {
    /// Returns every entry that is read, by its path in its source, in the order of a tree.
    pub fn inputs(&self) -> impl Iterator<Item = Input> {
        let mut heads: BinaryHeap<Reverse<Head<'_>>> =
            self.items().enumerate().filter_map(|(item, read)| Head::of(item, each(read))).map(Reverse).collect();
        std::iter::from_fn(move || {
            let Reverse(Head { first, item, rest }) = heads.pop()?;
            heads.extend(Head::of(item, rest).map(Reverse));
            Some(first)
        })
    }
}

type Inputs<'a> = Box<dyn Iterator<Item = Input> + 'a>;

/// What is left of the entries of an item, each of which is in order by itself.
struct Head<'a> {
    first: Input,
    item: usize,
    rest: Inputs<'a>,
}

impl<'a> Head<'a> {
    fn of(item: usize, mut inputs: Inputs<'a>) -> Option<Head<'a>> {
        Some(Head { first: inputs.next()?, item, rest: inputs })
    }
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        in_tree_order(&self.first.path, &other.first.path).then(self.item.cmp(&other.item))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}

fn each(item: &Item) -> Inputs<'_> {
    let path = if item.data.is_some() { &item.name } else { &item.node.path };
    let itself = (item.node.shape != Shape::Directory).then(|| input(path, &item.node));
    Box::new(itself.into_iter().chain(item.below.iter().map(|node| input(&node.path, &node))))
}

fn input(path: &[u8], node: &Node) -> Input {
    let (mut content, mut metadata) = (Hasher::new(), Hasher::new());
    shape(node, &mut content);
    numbers(node, &mut metadata);
    xattrs(node, &mut metadata);
    let (content, metadata) = (content.finish(), metadata.finish());
    Input {
        path: path.to_vec(),
        content: match node.shape {
            Shape::Directory => 0,
            _ => u64::from_le_bytes(*content.as_bytes().first_chunk().expect("32 bytes")),
        },
        metadata: u32::from_le_bytes(*metadata.as_bytes().first_chunk().expect("32 bytes")),
    }
}
