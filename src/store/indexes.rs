use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{Connection, Row, Transaction, params};

use super::images::{insert_image, insert_tag, select_images, select_tags};
use super::{Error, ImageRecord, Store, now, time};
use crate::oci::{Digest, Encoded, ImageConfig, Index, Manifest, Platform, Reference};

/// What the store knows of an index without opening its documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexRecord {
    /// The index's digest.
    pub digest: Digest,
    /// The index's media type.
    pub media_type: String,
    /// The index's size.
    pub index_size_bytes: u64,
    /// When it came into this store.
    pub added: Timestamp,
    /// Its names, sorted; none for an index whose name moved on.
    pub references: Vec<Reference>,
    /// Its images, in its order.
    pub images: Vec<ImageRecord>,
}

/// What a name can stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// One image.
    Image(ImageRecord),
    /// Images of several platforms.
    Index(IndexRecord),
}

impl Entry {
    /// Returns the digest of the manifest or index.
    pub fn digest(&self) -> Digest {
        match self {
            Entry::Image(image) => image.manifest,
            Entry::Index(index) => index.digest,
        }
    }

    /// Returns its names.
    pub fn references(&self) -> &[Reference] {
        match self {
            Entry::Image(image) => &image.references,
            Entry::Index(index) => &index.references,
        }
    }

    /// Returns the image that suits `platform` best; none where none does.
    pub fn image_for(&self, platform: &Platform) -> Option<&ImageRecord> {
        let suited = |image: &ImageRecord| platform.preference(&image.platform);
        match self {
            Entry::Image(image) => suited(image).map(|_| image),
            Entry::Index(index) => {
                let ranked = index.images.iter().filter_map(|image| Some((suited(image)?, image)));
                ranked.min_by_key(|(rank, _)| *rank).map(|(_, image)| image)
            }
        }
    }

    fn added(&self) -> Timestamp {
        match self {
            Entry::Image(image) => image.added,
            Entry::Index(index) => index.added,
        }
    }
}

impl Store {
    /// Makes an index with its images visible under all of `tags` at once; without tags, as one without a name.
    ///
    /// # Errors
    /// As [`Store::commit_image`].
    pub fn commit_index<'a>(
        &self,
        index: &Encoded<Index>,
        images: impl IntoIterator<Item = (&'a Encoded<Manifest>, &'a Encoded<ImageConfig>)>,
        tags: &[Reference],
    ) -> Result<(), Error> {
        let images: Vec<_> = images.into_iter().collect();
        for (manifest, config) in &images {
            self.put_image_documents(manifest, config)?;
        }
        self.put_bytes(index.bytes())?;
        self.database().write(|transaction| {
            for (manifest, config) in &images {
                insert_image(transaction, manifest, config)?;
            }
            insert_index(transaction, index, &images)?;
            for tag in tags {
                insert_tag(transaction, tag, index.digest())?;
            }
            self.write_layout_index(transaction)
        })
    }

    /// Returns all that has a name or could have one, the last added first: indexes, and images that are in none or have
    /// a name of their own.
    ///
    /// # Errors
    /// Those of the database.
    pub fn entries(&self) -> Result<Vec<Entry>, Error> {
        self.database().read(|connection| Ok(select_entries(connection)?))
    }

    /// Returns what people mean by `name`: a reference, an image id, the digest of a manifest or an index, or the
    /// beginning of one.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::AmbiguousImage`], those of the database.
    pub fn find(&self, name: &str) -> Result<Entry, Error> {
        let found = self.database().read(|connection| super::images::find(connection, name))?;
        Ok(found.into_entry())
    }
}

fn insert_index(
    transaction: &Transaction<'_>,
    index: &Encoded<Index>,
    images: &[(&Encoded<Manifest>, &Encoded<ImageConfig>)],
) -> rusqlite::Result<()> {
    let descriptor = index.descriptor();
    let key = descriptor.digest.as_bytes();
    transaction.prepare_cached("INSERT OR IGNORE INTO indexes VALUES(?, ?, ?, ?)")?.execute(params![
        key,
        descriptor.media_type,
        descriptor.size as i64,
        now()
    ])?;
    let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO index_images VALUES(?, ?, ?)")?;
    for (position, (manifest, _)) in images.iter().enumerate() {
        insert.execute(params![key, position as i64, manifest.digest().as_bytes()])?;
    }
    Ok(())
}

/// Returns the indexes for which `condition` holds, the last added first.
pub(super) fn select_indexes(
    connection: &Connection,
    condition: &'static str,
    parameter: impl rusqlite::ToSql,
) -> rusqlite::Result<Vec<IndexRecord>> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT digest, media_type, size, added FROM indexes WHERE {condition} ORDER BY added DESC, digest"
    ))?;
    let mut indexes = query.query_map([parameter], index_record)?.collect::<Result<Vec<_>, _>>()?;
    if indexes.is_empty() {
        return Ok(indexes);
    }
    let mut names: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
    for (reference, digest) in select_tags(connection)? {
        names.entry(digest).or_default().push(reference);
    }
    for index in &mut indexes {
        index.references = names.remove(&index.digest).unwrap_or_default();
        for manifest in members(connection, index.digest)? {
            index.images.extend(select_images(connection, "manifest = ?1", manifest.as_bytes())?);
        }
    }
    Ok(indexes)
}

fn index_record(row: &Row<'_>) -> rusqlite::Result<IndexRecord> {
    Ok(IndexRecord {
        digest: Digest::from_bytes(row.get(0)?),
        media_type: row.get(1)?,
        index_size_bytes: row.get::<_, i64>(2)? as u64,
        added: time(row.get(3)?),
        references: Vec::new(),
        images: Vec::new(),
    })
}

/// Returns the manifests of an index, in its order.
pub(super) fn members(connection: &Connection, index: Digest) -> rusqlite::Result<Vec<Digest>> {
    let mut query =
        connection.prepare_cached("SELECT manifest FROM index_images WHERE index_digest = ? ORDER BY position")?;
    query.query_map([index.as_bytes()], |row| Ok(Digest::from_bytes(row.get(0)?)))?.collect()
}

/// Returns an index that has this manifest; none where none does.
pub(super) fn index_of(connection: &Connection, manifest: Digest) -> rusqlite::Result<Option<Digest>> {
    let mut query = connection.prepare_cached("SELECT index_digest FROM index_images WHERE manifest = ? LIMIT 1")?;
    let mut rows = query.query_map([manifest.as_bytes()], |row| Ok(Digest::from_bytes(row.get(0)?)))?;
    rows.next().transpose()
}

pub(super) fn select_entries(connection: &Connection) -> rusqlite::Result<Vec<Entry>> {
    let indexes = select_indexes(connection, "?1 IS NULL", None::<&[u8]>)?;
    let members: BTreeSet<Digest> =
        indexes.iter().flat_map(|index| index.images.iter().map(|image| image.manifest)).collect();
    let images = select_images(connection, "?1 IS NULL", None::<&[u8]>)?;
    let visible = images.into_iter().filter(|image| !image.references.is_empty() || !members.contains(&image.manifest));
    let mut entries: Vec<Entry> = visible.map(Entry::Image).chain(indexes.into_iter().map(Entry::Index)).collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.added()));
    Ok(entries)
}
