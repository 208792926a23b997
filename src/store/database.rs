use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::blob::ZeroBlob;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::Error;

/// Version of the schema: how many [`STEPS`] led to it.
pub(super) const VERSION: u32 = STEPS.len() as u32;

/// What made each version out of the one before. Stores exist of every version, so steps are only ever added.
const STEPS: [&str; 7] = [SCHEMA, INDEXES, ENCODINGS, RECORDS, CONTAINERS, PACKAGES, FAILURES];

/// Longer than 64 builds together need for their short transactions, even on a slow disk.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

const SCHEMA: &str = "
CREATE TABLE images(
    manifest BLOB PRIMARY KEY, media_type TEXT NOT NULL, size INTEGER NOT NULL, config BLOB NOT NULL,
    os TEXT NOT NULL, architecture TEXT NOT NULL, variant TEXT, os_version TEXT,
    created INTEGER, added INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX images_config ON images(config);
CREATE TABLE image_layers(
    manifest BLOB NOT NULL, position INTEGER NOT NULL, diff_id BLOB NOT NULL, digest BLOB NOT NULL,
    size INTEGER NOT NULL, PRIMARY KEY(manifest, position)) WITHOUT ROWID;
CREATE INDEX image_layers_diff_id ON image_layers(diff_id);
CREATE INDEX image_layers_digest ON image_layers(digest);
CREATE TABLE tags(reference TEXT PRIMARY KEY, manifest BLOB NOT NULL, moved INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX tags_manifest ON tags(manifest);
CREATE TABLE layers(diff_id BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, contents BLOB NOT NULL);
CREATE TABLE layer_blobs(
    diff_id BLOB NOT NULL, digest BLOB NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL,
    PRIMARY KEY(diff_id, digest)) WITHOUT ROWID;
CREATE INDEX layer_blobs_digest ON layer_blobs(digest);
CREATE TABLE blob_sources(
    digest BLOB NOT NULL, host TEXT NOT NULL, repository TEXT NOT NULL, noted INTEGER NOT NULL,
    PRIMARY KEY(digest, host, repository)) WITHOUT ROWID;
CREATE TABLE trees(id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT, of BLOB, UNIQUE(kind, of));
CREATE INDEX trees_unbound ON trees(id) WHERE of IS NULL;
CREATE TABLE stat_scopes(scope INTEGER PRIMARY KEY, used INTEGER NOT NULL);
CREATE TABLE stat_digests(
    scope INTEGER NOT NULL, device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL,
    mtime INTEGER NOT NULL, ctime INTEGER NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY(scope, device, inode)) WITHOUT ROWID;
CREATE TABLE resolutions(
    reference TEXT NOT NULL, platform TEXT NOT NULL, manifest BLOB NOT NULL, resolved INTEGER NOT NULL,
    PRIMARY KEY(reference, platform)) WITHOUT ROWID;
CREATE INDEX resolutions_manifest ON resolutions(manifest);
CREATE TABLE builds(
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL,
    started INTEGER NOT NULL, finished INTEGER, outcome TEXT);
CREATE INDEX builds_unfinished ON builds(id) WHERE finished IS NULL;
CREATE TABLE steps(
    build TEXT NOT NULL, number INTEGER NOT NULL, title TEXT NOT NULL, outcome TEXT NOT NULL,
    duration INTEGER NOT NULL, PRIMARY KEY(build, number)) WITHOUT ROWID;
CREATE TABLE cache(
    key BLOB NOT NULL UNIQUE, result BLOB, created INTEGER NOT NULL, build TEXT NOT NULL,
    compressed INTEGER NOT NULL, recipe BLOB NOT NULL);
CREATE INDEX cache_result ON cache(result);
CREATE TABLE doomed(kind TEXT NOT NULL, id BLOB NOT NULL, PRIMARY KEY(kind, id)) WITHOUT ROWID;
";

const INDEXES: &str = "
CREATE TABLE indexes(
    digest BLOB PRIMARY KEY, media_type TEXT NOT NULL, size INTEGER NOT NULL, added INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE index_images(
    index_digest BLOB NOT NULL, position INTEGER NOT NULL, manifest BLOB NOT NULL,
    PRIMARY KEY(index_digest, position)) WITHOUT ROWID;
CREATE INDEX index_images_manifest ON index_images(manifest);
";

const ENCODINGS: &str = "
CREATE TABLE layer_encodings(
    diff_id BLOB NOT NULL, method TEXT NOT NULL, level INTEGER NOT NULL, library TEXT NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY(diff_id, method, level, library)) WITHOUT ROWID;
";

const RECORDS: &str = "
ALTER TABLE builds ADD COLUMN project TEXT NOT NULL DEFAULT '';
ALTER TABLE builds ADD COLUMN image BLOB;
ALTER TABLE builds ADD COLUMN facts TEXT NOT NULL DEFAULT '';
CREATE INDEX builds_project ON builds(project, number);
CREATE INDEX builds_image ON builds(image, number);
ALTER TABLE steps ADD COLUMN stage TEXT NOT NULL DEFAULT '';
ALTER TABLE steps ADD COLUMN position INTEGER NOT NULL DEFAULT 0;
ALTER TABLE steps ADD COLUMN text TEXT NOT NULL DEFAULT '';
ALTER TABLE steps ADD COLUMN key BLOB;
ALTER TABLE steps ADD COLUMN result BLOB;
ALTER TABLE steps ADD COLUMN facts TEXT NOT NULL DEFAULT '';
CREATE INDEX steps_text ON steps(text);
CREATE INDEX steps_key ON steps(key);
CREATE INDEX steps_result ON steps(result);
ALTER TABLE cache ADD COLUMN inputs BLOB;
ALTER TABLE cache ADD COLUMN removed INTEGER;
";

const CONTAINERS: &str = "
CREATE TABLE containers(
    id BLOB PRIMARY KEY, name TEXT NOT NULL UNIQUE, image TEXT NOT NULL, manifest BLOB NOT NULL, config BLOB NOT NULL,
    created INTEGER NOT NULL, started INTEGER, finished INTEGER, exit_code INTEGER, keeper TEXT, process TEXT,
    is_temporary INTEGER NOT NULL, stubs TEXT NOT NULL DEFAULT '', facts TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX containers_manifest ON containers(manifest);
CREATE TABLE container_layers(
    container BLOB NOT NULL, position INTEGER NOT NULL, diff_id BLOB NOT NULL,
    PRIMARY KEY(container, position)) WITHOUT ROWID;
CREATE INDEX container_layers_diff_id ON container_layers(diff_id);
";

/// A table of its own: beside an index of a million files, a list of packages would be written and read at the price of
/// the index.
const PACKAGES: &str = "
CREATE TABLE layer_packages(diff_id BLOB NOT NULL PRIMARY KEY, packages BLOB NOT NULL) WITHOUT ROWID;
";

const FAILURES: &str = "
ALTER TABLE containers ADD COLUMN project TEXT;
CREATE INDEX containers_project ON containers(project) WHERE project IS NOT NULL;
CREATE TABLE container_mounts(
    container BLOB NOT NULL, diff_id BLOB NOT NULL, PRIMARY KEY(container, diff_id)) WITHOUT ROWID;
CREATE INDEX container_mounts_diff_id ON container_mounts(diff_id);
";

/// The SQLite file and connections to it: one for each call that is under way.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    /// Writers of this process queue here; between processes SQLite polls, which is slower and not fair.
    writing: Mutex<()>,
}

/// A column with values of tens of megabytes. Bound or selected as others are, each would be copied by SQLite and by
/// its binding.
pub(super) struct LargeColumn {
    pub(super) table: &'static str,
    pub(super) name: &'static str,
}

impl LargeColumn {
    /// Returns what to bind in the place of a value that [`LargeColumn::write`] writes afterwards.
    pub(super) fn room(bytes: &[u8]) -> ZeroBlob {
        // SQLite refuses more than a gigabyte.
        ZeroBlob(i32::try_from(bytes.len()).unwrap_or(i32::MAX))
    }

    /// Writes the value of a row, for which there is room.
    pub(super) fn write(&self, transaction: &Transaction<'_>, row: i64, bytes: &[u8]) -> Result<(), Failure> {
        let mut blob = transaction.blob_open("main", self.table, self.name, row, false)?;
        blob.write_all_at(bytes, 0)?;
        Ok(blob.close()?)
    }

    /// Reads the value of a row, which is not null, in the transaction that found the row.
    pub(super) fn read(&self, transaction: &Transaction<'_>, row: i64) -> Result<Vec<u8>, Failure> {
        let blob = transaction.blob_open("main", self.table, self.name, row, true)?;
        let mut bytes = vec![0; blob.len()];
        blob.read_at_exact(&mut bytes, 0)?;
        Ok(bytes)
    }
}

/// What ends a transaction early.
pub(super) enum Failure {
    Sql(rusqlite::Error),
    Typed(Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(source: rusqlite::Error) -> Failure {
        Failure::Sql(source)
    }
}

impl From<Error> for Failure {
    fn from(source: Error) -> Failure {
        Failure::Typed(source)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Neither mutex protects an invariant that a panic could break.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Database {
    /// Opens or creates the file; the schema may still be missing.
    pub(super) fn open(path: PathBuf) -> Result<Database, Error> {
        let database = Database { path, idle: Mutex::default(), writing: Mutex::default() };
        let connection = database.connect()?;
        lock(&database.idle).push(connection);
        Ok(database)
    }

    /// Returns the version of the schema; 0 where there is none yet.
    pub(super) fn version(&self) -> Result<u32, Error> {
        self.read(|connection| Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?))
    }

    /// Makes the schema out of that of version `from`. The caller holds the store's exclusive lock, so no other process
    /// is at it.
    pub(super) fn migrate(&self, from: u32) -> Result<(), Error> {
        // The journal mode is kept in the file, and cannot change inside a transaction.
        self.read(|connection| Ok(connection.pragma_update(None, "journal_mode", "WAL")?))?;
        self.write(|transaction| {
            STEPS[from as usize..].iter().try_for_each(|step| transaction.execute_batch(step))?;
            Ok(transaction.pragma_update(None, "user_version", VERSION)?)
        })
    }

    /// Runs `body` on a connection of its own. For one statement, or several that need not agree.
    pub(super) fn read<T>(&self, body: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, Error> {
        let connection = self.take()?;
        let result = body(&connection).map_err(|failure| self.typed(failure));
        lock(&self.idle).push(connection);
        result
    }

    /// Runs `body` in one transaction that holds the write lock from its start, and commits if it succeeds.
    pub(super) fn write<T>(&self, body: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>) -> Result<T, Error> {
        let _turn = lock(&self.writing);
        let mut connection = self.take()?;
        let result = (|| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = body(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })()
        .map_err(|failure| self.typed(failure));
        lock(&self.idle).push(connection);
        result
    }

    fn take(&self) -> Result<Connection, Error> {
        let idle = lock(&self.idle).pop();
        idle.map_or_else(|| self.connect(), Ok)
    }

    fn connect(&self) -> Result<Connection, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            let connection = Connection::open_with_flags(&self.path, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.set_prepared_statement_cache_capacity(64);
            // In WAL mode a lost power supply can take the last commits with it but not the database, and a commit
            // costs no fsync: what kiln would lose is work it can do again.
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            Ok(connection)
        };
        open().map_err(|source| Error::sql(&self.path, source))
    }

    fn typed(&self, failure: Failure) -> Error {
        match failure {
            Failure::Sql(source) => Error::sql(&self.path, source),
            Failure::Typed(error) => error,
        }
    }

    /// Returns the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
