use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::database::{Failure, LargeColumn};
use super::{Error, Store, now};
use crate::oci::{DiffId, Digest};

/// A form in which a layer's tar exists: plain, or compressed in some way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlob {
    /// Digest of the blob's bytes.
    pub digest: Digest,
    /// What it is.
    pub media_type: String,
    /// Number of bytes.
    pub size: u64,
}

/// How kiln compressed a layer's tar. All of it decides what the bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    /// Name of the method.
    pub method: &'static str,
    /// Its level.
    pub level: u8,
    /// Name and version of the library that did it.
    pub library: String,
}

/// How many repositories of one host are remembered for a blob: more do not make a mount likelier.
const SOURCES: u32 = 8;

const CONTENTS: LargeColumn = LargeColumn { table: "layers", name: "contents" };

impl Store {
    /// Remembers a layer: the size of its tar, and its index as [`layer`](crate::layer) encodes it. Idempotent.
    ///
    /// # Errors
    /// Those of the database.
    pub fn put_layer(&self, diff_id: DiffId, size: u64, index: &[u8]) -> Result<(), Error> {
        self.database().write(|transaction| {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO layers(diff_id, size, contents) VALUES(?1, ?2, ?3)
                 ON CONFLICT(diff_id) DO UPDATE SET size = ?2, contents = ?3 RETURNING rowid",
            )?;
            let room = LargeColumn::room(index);
            let row = insert.query_row(params![diff_id.digest().as_bytes(), size as i64, room], |row| row.get(0))?;
            CONTENTS.write(transaction, row, index)
        })
    }

    /// Returns the encoded index of a layer that is known.
    ///
    /// # Errors
    /// Those of the database.
    pub fn layer_index(&self, diff_id: DiffId) -> Result<Option<Vec<u8>>, Error> {
        self.database().read(|connection| {
            // What has the row's number must be the same layer until it is read.
            let transaction = connection.unchecked_transaction()?;
            let mut query = transaction.prepare_cached("SELECT rowid FROM layers WHERE diff_id = ?")?;
            let row = query.query_row([diff_id.digest().as_bytes()], |row| row.get(0)).optional()?;
            row.map(|row| CONTENTS.read(&transaction, row)).transpose()
        })
    }

    /// Returns what was remembered of the packages in a layer.
    ///
    /// # Errors
    /// Those of the database.
    pub fn layer_packages(&self, diff_id: DiffId) -> Result<Option<Vec<u8>>, Error> {
        self.database().read(|connection| {
            let mut query = connection.prepare_cached("SELECT packages FROM layer_packages WHERE diff_id = ?")?;
            Ok(query.query_row([diff_id.digest().as_bytes()], |row| row.get(0)).optional()?)
        })
    }

    /// Remembers what is known of the packages in a layer, for as long as the layer is; nothing if it is not.
    ///
    /// # Errors
    /// Those of the database.
    pub fn put_layer_packages(&self, diff_id: DiffId, packages: &[u8]) -> Result<(), Error> {
        self.database().write(|transaction| {
            let mut insert = transaction.prepare_cached(
                "INSERT OR REPLACE INTO layer_packages SELECT diff_id, ?2 FROM layers WHERE diff_id = ?1",
            )?;
            insert.execute(params![diff_id.digest().as_bytes(), packages])?;
            Ok(())
        })
    }

    /// Returns the size of the tar of a layer that is known.
    ///
    /// # Errors
    /// Those of the database.
    pub fn layer_size(&self, diff_id: DiffId) -> Result<Option<u64>, Error> {
        self.database().read(|connection| {
            let mut query = connection.prepare_cached("SELECT size FROM layers WHERE diff_id = ?")?;
            let size = query.query_row([diff_id.digest().as_bytes()], |row| row.get::<_, i64>(0)).optional()?;
            Ok(size.map(|size| size as u64))
        })
    }

    /// Remembers that `blob` holds the layer. The blob itself need not be here (yet). Idempotent.
    ///
    /// # Errors
    /// Those of the database.
    pub fn link_blob(&self, diff_id: DiffId, blob: &LayerBlob) -> Result<(), Error> {
        self.database().write(|transaction| link(transaction, diff_id, blob))
    }

    /// Remembers that compressing the layer's tar in this way gave `blob`. Idempotent.
    ///
    /// # Errors
    /// Those of the database.
    pub fn link_encoded(&self, diff_id: DiffId, encoding: &Encoding, blob: &LayerBlob) -> Result<(), Error> {
        self.database().write(|transaction| {
            link(transaction, diff_id, blob)?;
            transaction.prepare_cached("INSERT OR REPLACE INTO layer_encodings VALUES(?, ?, ?, ?, ?)")?.execute(
                params![
                    diff_id.digest().as_bytes(),
                    encoding.method,
                    encoding.level,
                    encoding.library,
                    blob.digest.as_bytes()
                ],
            )?;
            Ok(())
        })
    }

    /// Returns what compressing a layer's tar in exactly this way gave, here or not; none where nobody did.
    ///
    /// # Errors
    /// Those of the database.
    pub fn encoded(&self, diff_id: DiffId, encoding: &Encoding) -> Result<Option<LayerBlob>, Error> {
        self.database().read(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT digest, media_type, size FROM layer_encodings JOIN layer_blobs USING(diff_id, digest)
                 WHERE diff_id = ? AND method = ? AND level = ? AND library = ?",
            )?;
            let digest = diff_id.digest();
            let key = params![digest.as_bytes(), encoding.method, encoding.level, encoding.library];
            Ok(query.query_row(key, blob).optional()?)
        })
    }

    /// Returns every known form of a layer, in the order of their digests, here or not.
    ///
    /// # Errors
    /// Those of the database.
    pub fn blobs_of(&self, diff_id: DiffId) -> Result<Vec<LayerBlob>, Error> {
        self.database().read(|connection| {
            let mut query = connection
                .prepare_cached("SELECT digest, media_type, size FROM layer_blobs WHERE diff_id = ? ORDER BY digest")?;
            let blobs = query.query_map([diff_id.digest().as_bytes()], blob)?;
            Ok(blobs.collect::<Result<_, _>>()?)
        })
    }

    /// Returns the layer that the blob `digest` holds, where that is known.
    ///
    /// # Errors
    /// Those of the database.
    pub fn diff_id_of(&self, digest: Digest) -> Result<Option<DiffId>, Error> {
        self.database().read(|connection| {
            let mut query = connection.prepare_cached("SELECT diff_id FROM layer_blobs WHERE digest = ? LIMIT 1")?;
            let diff_id = query.query_row([digest.as_bytes()], |row| row.get(0)).optional()?;
            Ok(diff_id.map(|bytes| DiffId::new(Digest::from_bytes(bytes))))
        })
    }

    /// Remembers that a registry has a blob, so that a push to its other repositories can mount it. Idempotent.
    ///
    /// # Errors
    /// Those of the database.
    pub fn note_source(&self, digest: Digest, host: &str, repository: &str) -> Result<(), Error> {
        self.database().write(|transaction| {
            transaction.prepare_cached("INSERT OR REPLACE INTO blob_sources VALUES(?, ?, ?, ?)")?.execute(params![
                digest.as_bytes(),
                host,
                repository,
                now()
            ])?;
            Ok(())
        })
    }

    /// Remembers that a repository may have a blob, because an image is named so. Whoever is known to have it is asked first.
    ///
    /// # Errors
    /// Those of the database.
    pub fn guess_source(&self, digest: Digest, host: &str, repository: &str) -> Result<(), Error> {
        self.database().write(|transaction| {
            transaction.prepare_cached("INSERT OR IGNORE INTO blob_sources VALUES(?, ?, ?, 0)")?.execute(params![
                digest.as_bytes(),
                host,
                repository
            ])?;
            Ok(())
        })
    }

    /// Returns the repositories of `host` that have a blob, the last noted first.
    ///
    /// # Errors
    /// Those of the database.
    pub fn sources(&self, digest: Digest, host: &str) -> Result<Vec<String>, Error> {
        self.database().read(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT repository FROM blob_sources WHERE digest = ? AND host = ?
                 ORDER BY noted DESC, repository LIMIT ?",
            )?;
            let repositories = query.query_map(params![digest.as_bytes(), host, SOURCES], |row| row.get(0))?;
            Ok(repositories.collect::<Result<_, _>>()?)
        })
    }

    /// Returns the hosts and repositories that have a blob, the last noted first.
    ///
    /// # Errors
    /// Those of the database.
    pub fn all_sources(&self, digest: Digest) -> Result<Vec<(String, String)>, Error> {
        self.database().read(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT host, repository FROM blob_sources WHERE digest = ?
                 ORDER BY noted DESC, host, repository LIMIT ?",
            )?;
            let places = query.query_map(params![digest.as_bytes(), SOURCES], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(places.collect::<Result<_, _>>()?)
        })
    }
}

fn link(transaction: &Transaction<'_>, diff_id: DiffId, blob: &LayerBlob) -> Result<(), Failure> {
    transaction
        .prepare_cached(
            "INSERT INTO layer_blobs(diff_id, digest, media_type, size) VALUES(?1, ?2, ?3, ?4)
             ON CONFLICT(diff_id, digest) DO UPDATE SET media_type = ?3, size = ?4",
        )?
        .execute(params![diff_id.digest().as_bytes(), blob.digest.as_bytes(), blob.media_type, blob.size as i64])?;
    Ok(())
}

fn blob(row: &Row<'_>) -> rusqlite::Result<LayerBlob> {
    Ok(LayerBlob {
        digest: Digest::from_bytes(row.get(0)?),
        media_type: row.get(1)?,
        size: row.get::<_, i64>(2)? as u64,
    })
}
