use crate::context::{Kind, Listed};

/// Adds what is more than some levels deep to the directories of the last level. Paths come depth first.
pub(super) struct Fold {
    depth: Option<usize>,
    /// A directory of the last level, while its content comes.
    open: Option<Listed>,
}

impl Fold {
    pub(super) fn new(depth: Option<u32>) -> Fold {
        // More levels than a number has are all levels.
        Fold { depth: depth.and_then(|depth| usize::try_from(depth).ok()), open: None }
    }

    pub(super) fn push<E>(&mut self, listed: Listed, show: &mut impl FnMut(Listed) -> Result<(), E>) -> Result<(), E> {
        let level = listed.path.iter().filter(|&&byte| byte == b'/').count() + 1;
        match &mut self.open {
            Some(open) if self.depth.is_some_and(|depth| level > depth) => {
                open.below.add(&listed);
                Ok(())
            }
            _ => {
                self.finish(show)?;
                if listed.kind != Some(Kind::Directory) || self.depth != Some(level) {
                    return show(listed);
                }
                self.open = Some(listed);
                Ok(())
            }
        }
    }

    /// Shows what is still being counted.
    pub(super) fn finish<E>(&mut self, show: &mut impl FnMut(Listed) -> Result<(), E>) -> Result<(), E> {
        self.open.take().map_or(Ok(()), show)
    }
}
