use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde_json::json;

use super::database::Failure;
use super::indexes::{Entry, IndexRecord, select_entries, select_indexes};
use super::{Error, Store, now, time, write_file};
use crate::oci::{DiffId, Digest, Encoded, ImageConfig, Manifest, Platform, Reference};

/// What the store knows of an image without opening its documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// The manifest's digest.
    pub manifest: Digest,
    /// The manifest's media type.
    pub media_type: String,
    /// The manifest's size.
    pub manifest_size_bytes: u64,
    /// The config's digest: the image id.
    pub image_id: Digest,
    /// What it is for.
    pub platform: Platform,
    /// When its last layer was made, as its config says, to the microsecond.
    pub created: Option<Timestamp>,
    /// When it came into this store.
    pub added: Timestamp,
    /// Bytes of its layers, uncompressed where known.
    pub size_bytes: u64,
    /// Its names, sorted; none for an image whose name moved on.
    pub references: Vec<Reference>,
}

/// How an image or index was asked for.
pub(super) enum Found {
    /// By one of its names.
    Name(Reference, Entry),
    /// By its digest or the beginning of it; all images with this config.
    Id(Digest, Vec<ImageRecord>),
    /// By its digest or the beginning of it.
    Index(IndexRecord),
}

impl Found {
    pub(super) fn into_entry(self) -> Entry {
        match self {
            Found::Name(_, entry) => entry,
            Found::Id(_, images) => Entry::Image(images.into_iter().next().expect("what is found is at least one")),
            Found::Index(index) => Entry::Index(index),
        }
    }
}

/// Shorter beginnings of ids are more likely names mistyped, and `rmi` would act on them.
const MIN_ID_DIGITS: usize = 4;

impl Store {
    /// Makes an image visible under all of `tags` at once; without tags, as one without a name. Its layers need not be
    /// here.
    ///
    /// # Errors
    /// [`Error::LayerCount`], [`Error::NoSpace`], [`Error::Io`], those of the database.
    pub fn commit_image(
        &self,
        manifest: &Encoded<Manifest>,
        config: &Encoded<ImageConfig>,
        tags: &[Reference],
    ) -> Result<(), Error> {
        self.commit_images([(manifest, config, tags)])
    }

    /// Makes several images visible at once.
    ///
    /// # Errors
    /// As [`Store::commit_image`].
    pub fn commit_images<'a>(
        &self,
        images: impl IntoIterator<Item = (&'a Encoded<Manifest>, &'a Encoded<ImageConfig>, &'a [Reference])>,
    ) -> Result<(), Error> {
        let images: Vec<_> = images.into_iter().collect();
        for (manifest, config, _) in &images {
            self.put_image_documents(manifest, config)?;
        }
        self.database().write(|transaction| {
            for (manifest, config, tags) in &images {
                insert_image(transaction, manifest, config)?;
                for tag in *tags {
                    insert_tag(transaction, tag, manifest.digest())?;
                }
            }
            self.write_layout_index(transaction)
        })
    }

    /// Writes the two documents of an image, which go again unless somebody has them.
    ///
    /// # Errors
    /// [`Error::LayerCount`], [`Error::NoSpace`], [`Error::Io`], those of the database.
    pub fn put_image_documents(
        &self,
        manifest: &Encoded<Manifest>,
        config: &Encoded<ImageConfig>,
    ) -> Result<(), Error> {
        let (layers, diff_ids) = (manifest.value().layers.len(), config.value().rootfs.diff_ids.len());
        if layers != diff_ids {
            return Err(Error::LayerCount { manifest: manifest.digest(), layers, diff_ids });
        }
        self.put_bytes(config.bytes())?;
        self.put_bytes(manifest.bytes())?;
        Ok(())
    }

    /// Gives the image or index of a digest another name, taking the name from who had it.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::Io`], those of the database.
    pub fn set_tag(&self, reference: &Reference, digest: Digest) -> Result<(), Error> {
        self.database().write(|transaction| {
            if entry(transaction, digest)?.is_none() {
                return Err(Error::NoSuchImage { name: digest.to_string() }.into());
            }
            insert_tag(transaction, reference, digest)?;
            self.write_layout_index(transaction)
        })
    }

    /// Returns the manifest or index a name stands for.
    ///
    /// # Errors
    /// Those of the database.
    pub fn tag(&self, reference: &Reference) -> Result<Option<Digest>, Error> {
        self.database().read(|connection| Ok(select_tag(connection, reference)?))
    }

    /// Returns all names, sorted, with the manifests and indexes they stand for.
    ///
    /// # Errors
    /// Those of the database.
    pub fn tags(&self) -> Result<Vec<(Reference, Digest)>, Error> {
        self.database().read(|connection| Ok(select_tags(connection)?))
    }

    /// Returns all images, the last added first, those without a name and those in indexes too.
    ///
    /// # Errors
    /// Those of the database.
    pub fn images(&self) -> Result<Vec<ImageRecord>, Error> {
        self.database().read(|connection| Ok(select_images(connection, "?1 IS NULL", None::<&[u8]>)?))
    }

    /// Returns the image or index with this digest.
    ///
    /// # Errors
    /// Those of the database.
    pub fn entry(&self, digest: Digest) -> Result<Option<Entry>, Error> {
        self.database().read(|connection| Ok(entry(connection, digest)?))
    }

    /// Returns the image people mean by `name`, as [`Store::find`] does.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], also where it is an index; [`Error::AmbiguousImage`], those of the database.
    pub fn find_image(&self, name: &str) -> Result<ImageRecord, Error> {
        match self.find(name)? {
            Entry::Image(image) => Ok(image),
            Entry::Index(_) => Err(Error::NoSuchImage { name: name.to_owned() }),
        }
    }

    /// Returns the layers of an image, base first, each with the size of its tar where that is known.
    ///
    /// # Errors
    /// Those of the database.
    pub fn image_layers(&self, manifest: Digest) -> Result<Vec<(DiffId, Option<u64>)>, Error> {
        self.database().read(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT i.diff_id, l.size FROM image_layers i LEFT JOIN layers l ON l.diff_id = i.diff_id
                 WHERE i.manifest = ? ORDER BY i.position",
            )?;
            let layers = query.query_map([manifest.as_bytes()], |row| {
                let size = row.get::<_, Option<i64>>(1)?.map(|size| size as u64);
                Ok((DiffId::new(Digest::from_bytes(row.get(0)?)), size))
            })?;
            Ok(layers.collect::<Result<_, _>>()?)
        })
    }

    /// Writes `index.json` as the tags are in this transaction. Its holder has the only write lock, so the last file
    /// written belongs to the last transaction.
    pub(super) fn write_layout_index(&self, transaction: &Transaction<'_>) -> Result<(), Failure> {
        let mut manifests = Vec::new();
        for entry in &select_entries(transaction)? {
            let descriptor = match entry {
                Entry::Image(image) => json!({
                    "mediaType": image.media_type, "digest": image.manifest, "size": image.manifest_size_bytes,
                    "platform": image.platform,
                }),
                Entry::Index(index) => json!({
                    "mediaType": index.media_type, "digest": index.digest, "size": index.index_size_bytes,
                }),
            };
            if entry.references().is_empty() {
                manifests.push(descriptor);
                continue;
            }
            for reference in entry.references() {
                let mut entry = descriptor.clone();
                entry["annotations"] = json!({
                    "io.containerd.image.name": reference,
                    "org.opencontainers.image.ref.name": reference.familiar(),
                });
                manifests.push(entry);
            }
        }
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        write_file(&self.root().join("index.json"), index.to_string().as_bytes())?;
        Ok(())
    }
}

pub(super) fn insert_image(
    transaction: &Transaction<'_>,
    manifest: &Encoded<Manifest>,
    config: &Encoded<ImageConfig>,
) -> rusqlite::Result<()> {
    let (descriptor, value) = (manifest.descriptor(), config.value());
    transaction.prepare_cached("INSERT OR IGNORE INTO images VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?.execute(
        params![
            descriptor.digest.as_bytes(),
            descriptor.media_type,
            descriptor.size as i64,
            config.digest().as_bytes(),
            value.os,
            value.architecture,
            value.variant,
            value.os_version,
            value.created.map(Timestamp::as_microsecond),
            now()
        ],
    )?;
    let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO image_layers VALUES(?, ?, ?, ?, ?)")?;
    for (position, (layer, diff_id)) in manifest.value().layers.iter().zip(&value.rootfs.diff_ids).enumerate() {
        insert.execute(params![
            descriptor.digest.as_bytes(),
            position as i64,
            diff_id.digest().as_bytes(),
            layer.digest.as_bytes(),
            layer.size as i64
        ])?;
    }
    Ok(())
}

pub(super) fn insert_tag(
    transaction: &Transaction<'_>,
    reference: &Reference,
    manifest: Digest,
) -> rusqlite::Result<()> {
    transaction.prepare_cached("INSERT OR REPLACE INTO tags VALUES(?, ?, ?)")?.execute(params![
        reference.to_string(),
        manifest.as_bytes(),
        now()
    ])?;
    Ok(())
}

fn select_tag(connection: &Connection, reference: &Reference) -> rusqlite::Result<Option<Digest>> {
    let mut query = connection.prepare_cached("SELECT manifest FROM tags WHERE reference = ?")?;
    query.query_row([reference.to_string()], |row| Ok(Digest::from_bytes(row.get(0)?))).optional()
}

pub(super) fn select_tags(connection: &Connection) -> rusqlite::Result<Vec<(Reference, Digest)>> {
    let mut query = connection.prepare_cached("SELECT reference, manifest FROM tags ORDER BY reference")?;
    let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, Digest::from_bytes(row.get(1)?))))?;
    let mut tags = Vec::new();
    for row in rows {
        let (reference, manifest) = row?;
        // Only references are ever written; one that a future grammar refuses is no reason to hide the others.
        tags.extend(reference.parse().ok().map(|reference| (reference, manifest)));
    }
    Ok(tags)
}

/// Returns the images for which `condition` holds, the last added first.
pub(super) fn select_images(
    connection: &Connection,
    condition: &'static str,
    parameter: impl rusqlite::ToSql,
) -> rusqlite::Result<Vec<ImageRecord>> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT manifest, media_type, size, config, os, architecture, variant, os_version, created, added,
            (SELECT SUM(COALESCE(l.size, i.size)) FROM image_layers i LEFT JOIN layers l ON l.diff_id = i.diff_id
             WHERE i.manifest = images.manifest)
         FROM images WHERE {condition} ORDER BY added DESC, manifest"
    ))?;
    let mut images = query.query_map([parameter], image_record)?.collect::<Result<Vec<_>, _>>()?;
    let mut names: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
    for (reference, manifest) in select_tags(connection)? {
        names.entry(manifest).or_default().push(reference);
    }
    for image in &mut images {
        image.references = names.remove(&image.manifest).unwrap_or_default();
    }
    Ok(images)
}

fn image_record(row: &Row<'_>) -> rusqlite::Result<ImageRecord> {
    Ok(ImageRecord {
        manifest: Digest::from_bytes(row.get(0)?),
        media_type: row.get(1)?,
        manifest_size_bytes: row.get::<_, i64>(2)? as u64,
        image_id: Digest::from_bytes(row.get(3)?),
        platform: Platform {
            os: row.get(4)?,
            architecture: row.get(5)?,
            variant: row.get(6)?,
            os_version: row.get(7)?,
        },
        created: row.get::<_, Option<i64>>(8)?.map(time),
        added: time(row.get(9)?),
        size_bytes: row.get::<_, Option<i64>>(10)?.unwrap_or(0) as u64,
        references: Vec::new(),
    })
}

pub(super) fn find(connection: &Connection, name: &str) -> Result<Found, Failure> {
    let none = || Error::NoSuchImage { name: name.to_owned() };
    if let Ok(reference) = name.parse::<Reference>() {
        if let Some(digest) = select_tag(connection, &reference)?
            && let Some(entry) = entry(connection, digest)?
        {
            return Ok(Found::Name(reference, entry));
        }
        if let Some(digest) = reference.digest() {
            return by_id(connection, &digest.hex(), name);
        }
    }
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    let is_id = (MIN_ID_DIGITS..=64).contains(&digits.len())
        && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_id { by_id(connection, digits, name) } else { Err(none().into()) }
}

/// Returns the image or index with this digest.
fn entry(connection: &Connection, digest: Digest) -> rusqlite::Result<Option<Entry>> {
    if let Some(image) = select_images(connection, "manifest = ?1", digest.as_bytes())?.pop() {
        return Ok(Some(Entry::Image(image)));
    }
    Ok(select_indexes(connection, "digest = ?1", digest.as_bytes())?.pop().map(Entry::Index))
}

fn by_id(connection: &Connection, digits: &str, name: &str) -> Result<Found, Failure> {
    let condition =
        "substr(lower(hex(config)), 1, length(?1)) = ?1 OR substr(lower(hex(manifest)), 1, length(?1)) = ?1";
    let images = select_images(connection, condition, digits)?;
    let mut indexes = select_indexes(connection, "substr(lower(hex(digest)), 1, length(?1)) = ?1", digits)?;
    let ids: BTreeSet<Digest> = images.iter().map(|image| image.image_id).collect();
    match (ids.first(), ids.len() + indexes.len()) {
        (_, 0) => Err(Error::NoSuchImage { name: name.to_owned() }.into()),
        (Some(&id), 1) => Ok(Found::Id(id, images)),
        (None, 1) => Ok(Found::Index(indexes.remove(0))),
        (_, count) => Err(Error::AmbiguousImage { name: name.to_owned(), count }.into()),
    }
}
