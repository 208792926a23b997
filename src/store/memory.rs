use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use super::{Error, Store, now, time};
use crate::oci::{Digest, Hasher, Platform, Reference};

/// What a file looked like when its content had this digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StatDigest {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Modification time, nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Change time, nanoseconds since the epoch.
    pub ctime_ns: i64,
    /// Digest of the content.
    pub digest: Digest,
}

/// What a registry answered for a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The image's manifest.
    pub manifest: Digest,
    /// When.
    pub resolved: Timestamp,
}

/// A context directory that no build read for a month is forgotten, microseconds.
const SCOPE_LIFETIME: i64 = 30 * 24 * 3600 * 1_000_000;

impl Store {
    /// Returns what is remembered of files below one directory, `scope` being its canonical path. `files` are devices
    /// and inodes in ascending order, and so is what is returned.
    ///
    /// # Errors
    /// Those of the database.
    pub fn stat_digests(&self, scope: &[u8], files: &[(u64, u64)]) -> Result<Vec<StatDigest>, Error> {
        let scope = scope_number(scope);
        self.database().read(|connection| {
            // One for all queries, each of which would otherwise lock the database anew.
            let transaction = connection.unchecked_transaction()?;
            let mut query = transaction.prepare_cached(
                "SELECT device, inode, size, mtime, ctime, digest FROM stat_digests
                 WHERE scope = ? AND device = ? AND inode BETWEEN ? AND ?",
            )?;
            let mut found = Vec::new();
            for span in files.chunk_by(|&a, &b| are_near(a, b)) {
                let ((device, first), (_, last)) = (span[0], span[span.len() - 1]);
                for row in query.query_map(params![scope, device as i64, first as i64, last as i64], stat_digest)? {
                    let row = row?;
                    found.extend(span.binary_search(&(row.device, row.inode)).is_ok().then_some(row));
                }
            }
            Ok(found)
        })
    }

    /// Remembers `files`, which are new or changed, below the directory `scope`. What was known of their inodes is
    /// forgotten.
    ///
    /// # Errors
    /// Those of the database.
    pub fn save_stat_digests(&self, scope: &[u8], files: &[StatDigest]) -> Result<(), Error> {
        let scope = scope_number(scope);
        self.database().write(|transaction| {
            let mut insert =
                transaction.prepare_cached("INSERT OR REPLACE INTO stat_digests VALUES(?, ?, ?, ?, ?, ?, ?)")?;
            for file in files {
                insert.execute(params![
                    scope,
                    file.device as i64,
                    file.inode as i64,
                    file.size as i64,
                    file.mtime_ns,
                    file.ctime_ns,
                    file.digest.as_bytes()
                ])?;
            }
            transaction
                .prepare_cached("INSERT OR REPLACE INTO stat_scopes(scope, used) VALUES(?, ?)")?
                .execute(params![scope, now()])?;
            let oldest = now() - SCOPE_LIFETIME;
            transaction.execute(
                "DELETE FROM stat_digests WHERE scope IN (SELECT scope FROM stat_scopes WHERE used < ?)",
                [oldest],
            )?;
            transaction.execute("DELETE FROM stat_scopes WHERE used < ?", [oldest])?;
            Ok(())
        })
    }

    /// Remembers which image a registry gave for a reference and platform, so that builds need not ask again.
    ///
    /// # Errors
    /// Those of the database.
    pub fn note_resolution(&self, reference: &Reference, platform: &Platform, manifest: Digest) -> Result<(), Error> {
        self.database().write(|transaction| {
            transaction.prepare_cached("INSERT OR REPLACE INTO resolutions VALUES(?, ?, ?, ?)")?.execute(params![
                reference.to_string(),
                platform.to_string(),
                manifest.as_bytes(),
                now()
            ])?;
            Ok(())
        })
    }

    /// Returns what a registry last answered, as long as the manifest is still here.
    ///
    /// # Errors
    /// [`Error::Io`], those of the database.
    pub fn resolution(&self, reference: &Reference, platform: &Platform) -> Result<Option<Resolution>, Error> {
        let found = self.database().read(|connection| {
            let mut query = connection
                .prepare_cached("SELECT manifest, resolved FROM resolutions WHERE reference = ? AND platform = ?")?;
            let found = query.query_row([reference.to_string(), platform.to_string()], |row| {
                Ok(Resolution { manifest: Digest::from_bytes(row.get(0)?), resolved: time(row.get(1)?) })
            });
            Ok(found.optional()?)
        })?;
        match found {
            Some(found) if self.has_blob(found.manifest)?.is_some() => Ok(Some(found)),
            _ => Ok(None),
        }
    }
}

/// Tells whether two files are asked for at once, with whatever lies between them. Files of one directory mostly have
/// inodes next to each other, and to find a row takes as long as to read a few that follow it.
fn are_near(one: (u64, u64), other: (u64, u64)) -> bool {
    const ROWS_READ_IN_VAIN: u64 = 8;
    // The database has numbers with a sign: no span may lead from the largest to the smallest of them.
    one.0 == other.0 && other.1.saturating_sub(one.1) <= ROWS_READ_IN_VAIN && (one.1 as i64) <= (other.1 as i64)
}

/// Eight bytes are enough to tell directories apart, and keep 50,000 keys small.
fn scope_number(scope: &[u8]) -> i64 {
    let mut hasher = Hasher::new();
    hasher.update(scope);
    let digest = hasher.finish();
    i64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("eight of 32 bytes"))
}

fn stat_digest(row: &Row<'_>) -> rusqlite::Result<StatDigest> {
    Ok(StatDigest {
        device: row.get::<_, i64>(0)? as u64,
        inode: row.get::<_, i64>(1)? as u64,
        size: row.get::<_, i64>(2)? as u64,
        mtime_ns: row.get(3)?,
        ctime_ns: row.get(4)?,
        digest: Digest::from_bytes(row.get(5)?),
    })
}
