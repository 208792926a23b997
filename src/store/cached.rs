use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::database::LargeColumn;
use super::{BuildId, Error, Store, time};
use crate::oci::{DiffId, Digest};

/// Recipes longer than this are kept compressed; shorter ones gain nothing.
const COMPRESS_FROM_BYTES: usize = 1024;

/// A cached result, as [`cache`](crate::cache) keeps it here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheRow {
    /// The layer; none where the op made none.
    pub(crate) result: Option<DiffId>,
    /// When.
    pub(crate) created: Timestamp,
    /// By which build.
    pub(crate) build: BuildId,
}

const INPUTS: LargeColumn = LargeColumn { table: "cache", name: "inputs" };

impl Store {
    /// Remembers a result, replacing an older one of the same key.
    pub(crate) fn put_cached(
        &self,
        key: Digest,
        row: &CacheRow,
        recipe: &[u8],
        inputs: Option<&[u8]>,
    ) -> Result<(), Error> {
        let compressed = (recipe.len() > COMPRESS_FROM_BYTES)
            .then(|| zstd::bulk::compress(recipe, 0).expect("zstd takes any bytes"));
        let result = row.result.map(|diff_id| *diff_id.digest().as_bytes());
        self.database().write(|transaction| {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO cache(key, result, created, build, compressed, recipe, inputs)
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT(key) DO UPDATE SET result = ?2, created = ?3, build = ?4, inputs = ?7, removed = NULL
                 RETURNING rowid",
            )?;
            let (created, room) = (row.created.as_microsecond(), inputs.map(LargeColumn::room));
            let (build, is_compressed) = (row.build.to_string(), compressed.is_some());
            let recipe = compressed.as_deref().unwrap_or(recipe);
            let row = insert
                .query_row(params![key.as_bytes(), result, created, build, is_compressed, recipe, room], |row| {
                    row.get(0)
                })?;
            inputs.map_or(Ok(()), |inputs| INPUTS.write(transaction, row, inputs))
        })
    }

    /// Returns a result whose layer is still here in some form.
    pub(crate) fn cached(&self, key: Digest) -> Result<Option<CacheRow>, Error> {
        let row = self.database().read(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT result, created, build FROM cache
                 WHERE key = ? AND removed IS NULL AND (result IS NULL OR result IN (SELECT diff_id FROM layers))",
            )?;
            let row = query.query_row([key.as_bytes()], |row| {
                Ok(CacheRow {
                    result: row.get::<_, Option<[u8; 32]>>(0)?.map(|bytes| DiffId::new(Digest::from_bytes(bytes))),
                    created: time(row.get(1)?),
                    build: BuildId::from_column(row.get(2)?),
                })
            });
            Ok(row.optional()?)
        })?;
        match row {
            Some(CacheRow { result: Some(diff_id), .. }) if !self.has_layer(diff_id)? => Ok(None),
            row => Ok(row),
        }
    }

    /// Returns when the result of a key was removed, which is not known of one that was lost; nothing where it is here, or
    /// never was.
    pub(crate) fn cached_removal(&self, key: Digest) -> Result<Option<Option<Timestamp>>, Error> {
        let row: Option<(Option<i64>, bool)> = self.database().read(|connection| {
            let mut query = connection.prepare_cached("SELECT removed, result IS NULL FROM cache WHERE key = ?")?;
            Ok(query.query_row([key.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
        })?;
        Ok(match row {
            Some((Some(removed), _)) => Some(Some(time(removed))),
            Some((None, false)) if self.cached(key)?.is_none() => Some(None),
            _ => None,
        })
    }

    /// Returns what is kept of the inputs of a key.
    pub(crate) fn cached_inputs(&self, key: Digest) -> Result<Option<Vec<u8>>, Error> {
        self.database().read(|connection| {
            let transaction = connection.unchecked_transaction()?;
            let mut query =
                transaction.prepare_cached("SELECT rowid FROM cache WHERE key = ? AND inputs IS NOT NULL")?;
            let row = query.query_row([key.as_bytes()], |row| row.get(0)).optional()?;
            row.map(|row| INPUTS.read(&transaction, row)).transpose()
        })
    }

    /// Returns the recipe of a key.
    pub(crate) fn cached_recipe(&self, key: Digest) -> Result<Option<Vec<u8>>, Error> {
        let found: Option<(bool, Vec<u8>)> = self.database().read(|connection| {
            let mut query = connection.prepare_cached("SELECT compressed, recipe FROM cache WHERE key = ?")?;
            Ok(query.query_row([key.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
        })?;
        match found {
            Some((true, bytes)) => zstd::decode_all(bytes.as_slice())
                .map(Some)
                .map_err(|source| Error::io("decompress a recipe of", self.database().path(), source)),
            found => Ok(found.map(|(_, bytes)| bytes)),
        }
    }

    /// Tells whether a layer's tar is here, plain or compressed: its name in the database can outlive it by a crash.
    ///
    /// # Errors
    /// [`Error::Io`], those of the database.
    pub fn has_layer(&self, diff_id: DiffId) -> Result<bool, Error> {
        if self.has_blob(diff_id.digest())?.is_some() {
            return Ok(true);
        }
        for blob in self.blobs_of(diff_id)? {
            if self.has_blob(blob.digest)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
