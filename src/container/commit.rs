use super::changes::stopped;
use super::pause::Paused;
use super::{Containers, Error, Facts, facts};
use crate::exec::{Asker, Stack};
use crate::layer::{TreeKind, Writer};
use crate::oci::{DiffId, History};
use crate::runtime::remove_stubs;
use crate::store::{ContainerRecord, Hashing};

/// What a container that runs does while it is committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Meanwhile {
    /// Its processes stand still.
    #[default]
    Paused,
    /// It goes on; what it writes may be seen in part.
    Running,
}

/// What a container has become.
pub struct Committed {
    /// The layers of its image, those that were made of its changes before, and now.
    pub layers: Vec<DiffId>,
    /// An item for each layer that its image does not have, and for this commit.
    pub history: Vec<History>,
}

impl Containers {
    /// Makes a layer of what a container has changed since the last one, which `item` will tell of.
    ///
    /// Of a container that this process keeps (`running` is none), the directory of changes becomes the layer's tree as it
    /// is, and the container goes on over it with an empty one. Of one that runs, the layer is written, and the container
    /// stays as it is. Without changes there is no layer.
    ///
    /// # Errors
    /// Those of reading files and of writing the layer; then the container is as before.
    pub fn commit(
        &self,
        container: &ContainerRecord,
        item: History,
        running: Option<Meanwhile>,
        asker: Asker<'_>,
    ) -> Result<Committed, Error> {
        let Facts { settings, mut commits, recipe } = facts(container)?;
        let stack = self.stack(container)?;
        let mut layers = stack.diff_ids()?;
        if running.is_none() {
            // The directory is to hold what the layer holds.
            let (upper, _) = self.library.changes(&self.tree(container)?)?;
            remove_stubs(&upper, &container.stubs)?;
        }
        let process = container.process.as_ref().filter(|_| running == Some(Meanwhile::Paused));
        let paused = process.map(Paused::new);
        let paused = paused.transpose().map_err(Error::Pause)?;
        let written = self.write_layer(container, &stack, asker);
        drop(paused);
        let Some(layer) = written? else {
            commits.push(History { empty_layer: true, ..item });
            return Ok(Committed { layers, history: commits });
        };
        layers.push(layer);
        commits.push(item);
        let facts = Facts { settings, commits, recipe };
        if running.is_none() {
            self.go_on_over(container, layer, &serde_json::to_string(&facts)?)?;
        }
        Ok(Committed { layers, history: facts.commits })
    }

    /// Returns what [`Containers::commit`] would make, and leaves the container as it is. The layer is in the store as long as
    /// somebody uses that.
    ///
    /// # Errors
    /// As [`Containers::commit`].
    pub fn preview(&self, container: &ContainerRecord, item: History, asker: Asker<'_>) -> Result<Committed, Error> {
        let Facts { commits: mut history, .. } = facts(container)?;
        let stack = self.stack(container)?;
        let mut layers = stack.diff_ids()?;
        if let Some(layer) = self.write_layer(container, &stack, asker)? {
            self.store().doom_layer(layer)?;
            layers.push(layer);
            history.push(item);
        }
        Ok(Committed { layers, history })
    }

    pub(super) fn write_layer(
        &self,
        container: &ContainerRecord,
        stack: &Stack,
        asker: Asker<'_>,
    ) -> Result<Option<DiffId>, Error> {
        let ingest = self.store().ingest_with(Hashing::Caller)?;
        let mut writer = Writer::new(asker.cancel.guard(ingest));
        self.write_changes(container, stack, &mut writer, asker)?;
        if writer.is_empty() {
            return Ok(None);
        }
        let finished = writer.finish();
        stopped(asker.cancel)?;
        let (ingest, finished) = finished?;
        ingest.into_inner().commit(Some((finished.diff_id.digest(), finished.size_bytes)))?;
        Ok(Some(self.library.add(finished)?))
    }

    /// Lays a container over a layer that its changes have become.
    fn go_on_over(&self, container: &ContainerRecord, layer: DiffId, facts: &str) -> Result<(), Error> {
        let old = self.tree(container)?;
        let (upper, TreeKind::Upper(xattrs)) = self.library.changes(&old)? else {
            // It has all files, the layer's too.
            return Ok(self.store().add_container_layer(container.id, layer, facts)?);
        };
        let fresh = self.library.beside(&upper, xattrs)?;
        let won = self.store().rebase_container(container.id, layer, (&old, fresh.kept_by()), facts)?;
        fresh.keep();
        if !won {
            self.store().drop_tree(&old)?;
        }
        Ok(())
    }
}
