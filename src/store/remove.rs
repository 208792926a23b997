use std::collections::BTreeSet;

use rusqlite::{Connection, Transaction, params};

use super::containers::containers_of;
use super::database::Failure;
use super::images::{Found, find, select_images};
use super::indexes::index_of;
use super::{ContainerState, Entry, Error, ImageRecord, Store, TreeKey, now, remove_file};
use crate::oci::{ChainId, DiffId, Digest, Reference};

/// What [`Store::remove_image`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that are gone.
    pub untagged: Vec<Reference>,
    /// Images (by config) and layers (by diff id) that are gone.
    pub deleted: Vec<Digest>,
}

pub(super) const LAYER: &str = "layer";
pub(super) const BLOB: &str = "blob";

/// Of a row of `doomed`: a layer, and no image that is left has it, nor any container.
const LAYER_IS_UNUSED: &str = "kind = 'layer' AND id NOT IN (SELECT diff_id FROM image_layers)
    AND id NOT IN (SELECT diff_id FROM container_layers) AND id NOT IN (SELECT diff_id FROM container_mounts)";

impl Store {
    /// Removes a name, and the image or index with its last name; asked by id, all its names and itself. Then its
    /// layers, blobs, trees and cached results go that no other image has. An image stays while an index has it.
    ///
    /// While another process has the store open, the image disappears from every list at once and its bytes stay until
    /// nobody has: a build may be reading them. One handle must not build and remove at the same time. What a container
    /// stands on stays as long as the container.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::AmbiguousImage`], [`Error::ImageInUse`] (not with `force`),
    /// [`Error::ImageInIndex`], [`Error::ImageOfContainer`] (with `force` only of one that runs), [`Error::Io`], those of
    /// the database.
    pub fn remove_image(&self, name: &str, force: bool) -> Result<Removed, Error> {
        let mut removed = self.database().write(|transaction| {
            let removed = match find(transaction, name)? {
                Found::Name(reference, entry) => {
                    if entry.references().len() <= 1 {
                        refuse_images_of_containers(transaction, std::slice::from_ref(&entry), force)?;
                    }
                    let mut removed = untag(transaction, vec![reference])?;
                    if entry.references().len() <= 1 {
                        removed.deleted = doom_entry(transaction, &entry)?;
                    }
                    removed
                }
                Found::Id(id, images) => {
                    if let Some(index) = index_of_any(transaction, &images)? {
                        return Err(Error::ImageInIndex { image: id, index }.into());
                    }
                    remove_by_id(transaction, id, images.into_iter().map(Entry::Image).collect(), force)?
                }
                Found::Index(index) => remove_by_id(transaction, index.digest, vec![Entry::Index(index)], force)?,
            };
            self.write_layout_index(transaction)?;
            Ok(removed)
        })?;
        removed.deleted.extend(self.collect_if_alone()?);
        Ok(removed)
    }

    /// Notes that a layer may go once nobody has the store open, unless an image or a container has it then.
    ///
    /// # Errors
    /// Those of the database.
    pub fn doom_layer(&self, layer: DiffId) -> Result<(), Error> {
        self.database().write(|transaction| Ok(doom(transaction, LAYER, layer.digest())?))
    }

    pub(super) fn collect_if_alone(&self) -> Result<Vec<Digest>, Error> {
        if !self.inner.lock.try_exclusive()? {
            return Ok(Vec::new());
        }
        let collected = self.collect();
        self.inner.lock.shared()?;
        collected
    }

    /// Deletes what is doomed and not needed after all; returns the layers that are gone. The caller is alone.
    ///
    /// First the rows, then the files, then the doom: killed in between, the next one alone begins again.
    pub(super) fn collect(&self) -> Result<Vec<Digest>, Error> {
        let any = self.database().read(|connection| Ok(connection.prepare("SELECT 1 FROM doomed")?.exists([])?))?;
        if !any {
            return Ok(Vec::new());
        }
        let (layers, blobs, trees) = self.database().write(|transaction| {
            let mut trees = trees_of_dropped_layers(transaction)?;
            let layers = drop_layers(transaction)?;
            trees.extend(trees_of_dropped_stacks(transaction)?);
            for id in &trees {
                transaction.execute("UPDATE trees SET kind = NULL, of = NULL WHERE id = ?", [id])?;
            }
            Ok((layers, unused_blobs(transaction)?, trees))
        })?;
        for id in trees {
            self.remove_unbound(&self.tree(id))?;
        }
        for blob in blobs {
            remove_file(&self.blob_path(blob))?;
        }
        self.database().write(|transaction| {
            transaction.execute("DELETE FROM doomed", [])?;
            Ok(())
        })?;
        Ok(layers)
    }
}

fn untag(transaction: &Transaction<'_>, references: Vec<Reference>) -> Result<Removed, Failure> {
    for reference in &references {
        transaction.execute("DELETE FROM tags WHERE reference = ?", [reference.to_string()])?;
    }
    Ok(Removed { untagged: references, deleted: Vec::new() })
}

/// Removes all names of what was asked for by its id, and itself.
fn remove_by_id(
    transaction: &Transaction<'_>,
    id: Digest,
    entries: Vec<Entry>,
    force: bool,
) -> Result<Removed, Failure> {
    let references: Vec<Reference> = entries.iter().flat_map(|entry| entry.references().iter().cloned()).collect();
    let repositories: BTreeSet<String> = references.iter().map(Reference::repository).collect();
    if repositories.len() > 1 && !force {
        return Err(Error::ImageInUse { image: id, references }.into());
    }
    refuse_images_of_containers(transaction, &entries, force)?;
    let mut removed = untag(transaction, references)?;
    for entry in &entries {
        removed.deleted.extend(doom_entry(transaction, entry)?);
    }
    Ok(removed)
}

/// Returns an error if a container stands on one of these; with `force`, only for one that runs.
fn refuse_images_of_containers(transaction: &Transaction<'_>, entries: &[Entry], force: bool) -> Result<(), Failure> {
    let images = entries.iter().flat_map(|entry| match entry {
        Entry::Image(image) => std::slice::from_ref(image),
        Entry::Index(index) => index.images.as_slice(),
    });
    for image in images {
        for container in containers_of(transaction, image.manifest)? {
            let is_running = container.state() == ContainerState::Running;
            if is_running || !force {
                let (container, image) = (container.id, image.image_id);
                return Err(Error::ImageOfContainer { image, container, is_running }.into());
            }
        }
    }
    Ok(())
}

fn index_of_any(transaction: &Transaction<'_>, images: &[ImageRecord]) -> Result<Option<Digest>, Failure> {
    for image in images {
        if let Some(index) = index_of(transaction, image.manifest)? {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// Takes an image or index from the lists, whose names are gone already; returns the ids of the images that are gone.
fn doom_entry(transaction: &Transaction<'_>, entry: &Entry) -> Result<Vec<Digest>, Failure> {
    match entry {
        Entry::Image(image) => doom_unneeded(transaction, image),
        Entry::Index(index) => {
            let key = index.digest.as_bytes();
            doom(transaction, BLOB, index.digest)?;
            transaction.execute("DELETE FROM index_images WHERE index_digest = ?", [key])?;
            transaction.execute("DELETE FROM indexes WHERE digest = ?", [key])?;
            let mut deleted = vec![index.digest];
            for image in index.images.iter().filter(|image| image.references.is_empty()) {
                deleted.extend(doom_unneeded(transaction, image)?);
            }
            Ok(deleted)
        }
    }
}

/// Takes an image without names from the lists unless an index has it.
fn doom_unneeded(transaction: &Transaction<'_>, image: &ImageRecord) -> Result<Vec<Digest>, Failure> {
    if index_of(transaction, image.manifest)?.is_some() {
        return Ok(Vec::new());
    }
    Ok(doom_image(transaction, image.manifest, image.image_id)?.into_iter().collect())
}

/// Takes an image from the lists and notes what may have been its alone; returns its id if no other manifest has it.
fn doom_image(transaction: &Transaction<'_>, manifest: Digest, id: Digest) -> Result<Option<Digest>, Failure> {
    doom(transaction, BLOB, manifest)?;
    doom(transaction, BLOB, id)?;
    let key = manifest.as_bytes();
    transaction.execute(
        "INSERT OR IGNORE INTO doomed SELECT ?1, diff_id FROM image_layers WHERE manifest = ?2",
        params![LAYER, key],
    )?;
    transaction.execute(
        "INSERT OR IGNORE INTO doomed SELECT ?1, digest FROM image_layers WHERE manifest = ?2",
        params![BLOB, key],
    )?;
    for statement in [
        "DELETE FROM image_layers WHERE manifest = ?",
        "DELETE FROM images WHERE manifest = ?",
        "DELETE FROM resolutions WHERE manifest = ?",
    ] {
        transaction.execute(statement, [key])?;
    }
    Ok(select_images(transaction, "config = ?1", id.as_bytes())?.is_empty().then_some(id))
}

pub(super) fn doom(transaction: &Transaction<'_>, kind: &str, digest: Digest) -> rusqlite::Result<()> {
    transaction.execute("INSERT OR IGNORE INTO doomed VALUES(?, ?)", params![kind, digest.as_bytes()])?;
    Ok(())
}

/// Forgets the doomed layers that no image has, as results of the cache too, and dooms their blobs.
fn drop_layers(transaction: &Transaction<'_>) -> Result<Vec<Digest>, Failure> {
    let layers = digests(transaction, &format!("SELECT id FROM doomed WHERE {LAYER_IS_UNUSED}"))?;
    for layer in &layers {
        doom(transaction, BLOB, *layer)?;
        let key = layer.as_bytes();
        transaction.execute(
            "INSERT OR IGNORE INTO doomed SELECT ?1, digest FROM layer_blobs WHERE diff_id = ?2",
            params![BLOB, key],
        )?;
        for statement in [
            "DELETE FROM layer_blobs WHERE diff_id = ?",
            "DELETE FROM layer_encodings WHERE diff_id = ?",
            "DELETE FROM layer_packages WHERE diff_id = ?",
            "DELETE FROM layers WHERE diff_id = ?",
        ] {
            transaction.execute(statement, [key])?;
        }
        // What led to it is kept, to tell the next build why it is not there.
        transaction.execute("UPDATE cache SET result = NULL, removed = ? WHERE result = ?", params![now(), key])?;
    }
    Ok(layers)
}

fn unused_blobs(transaction: &Transaction<'_>) -> Result<Vec<Digest>, Failure> {
    let blobs = digests(
        transaction,
        "SELECT id FROM doomed WHERE kind = 'blob'
         AND id NOT IN (SELECT manifest FROM images) AND id NOT IN (SELECT config FROM images)
         AND id NOT IN (SELECT digest FROM indexes) AND id NOT IN (SELECT digest FROM image_layers) AND id NOT IN (SELECT diff_id FROM layers)
         AND id NOT IN (SELECT digest FROM layer_blobs) AND id NOT IN (SELECT manifest FROM resolutions)
         AND id NOT IN (SELECT manifest FROM containers) AND id NOT IN (SELECT config FROM containers)",
    )?;
    for blob in &blobs {
        transaction.execute("DELETE FROM blob_sources WHERE digest = ?", [blob.as_bytes()])?;
    }
    Ok(blobs)
}

fn trees_of_dropped_layers(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<i64>> {
    let mut query = transaction.prepare(&format!(
        "SELECT id FROM trees WHERE kind = ? AND of IN (SELECT id FROM doomed WHERE {LAYER_IS_UNUSED})"
    ))?;
    let ids = query.query_map([TreeKey::LAYER], |row| row.get(0))?;
    ids.collect()
}

/// Returns the merged trees of stacks that are not the lower part of any image. Merged trees are copies, so losing one
/// costs time and nothing else.
fn trees_of_dropped_stacks(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<i64>> {
    let mut query = transaction.prepare("SELECT manifest, diff_id FROM image_layers ORDER BY manifest, position")?;
    let mut rows = query.query([])?;
    let mut alive = BTreeSet::new();
    let mut below: Option<(Digest, ChainId)> = None;
    while let Some(row) = rows.next()? {
        let (manifest, layer) = (Digest::from_bytes(row.get(0)?), DiffId::new(Digest::from_bytes(row.get(1)?)));
        let chain = match below {
            Some((same, chain)) if same == manifest => chain.extend(layer),
            _ => ChainId::base(layer),
        };
        alive.insert(chain.digest());
        below = Some((manifest, chain));
    }
    let mut query = transaction.prepare("SELECT id, of FROM trees WHERE kind = ?")?;
    let stacks = query.query_map([TreeKey::STACK], |row| Ok((row.get(0)?, Digest::from_bytes(row.get(1)?))))?;
    let stacks = stacks.collect::<rusqlite::Result<Vec<(i64, Digest)>>>()?;
    Ok(stacks.into_iter().filter(|(_, stack)| !alive.contains(stack)).map(|(id, _)| id).collect())
}

fn digests(connection: &Connection, query: &str) -> rusqlite::Result<Vec<Digest>> {
    let mut query = connection.prepare(query)?;
    let digests = query.query_map([], |row| Ok(Digest::from_bytes(row.get(0)?)))?;
    digests.collect()
}
