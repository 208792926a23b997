use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, params};
use rustix::rand::GetRandomFlags;

use super::database::Failure;
use super::remove::{BLOB, LAYER, doom};
use super::{Error, Store, Tree, TreeKey, now, time};
use crate::oci::{DiffId, Digest};
use crate::sys::ProcessIdentity;

/// Identifies a container: 64 hexadecimal digits, of which people write as many as tell it from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId([u8; 32]);

impl ContainerId {
    /// Returns an id nobody has.
    pub fn random() -> ContainerId {
        let mut bytes = [0_u8; 32];
        // Blocks for a moment at most, while the machine starts; what comes from the kernel comes whole.
        while rustix::rand::getrandom(&mut bytes[..], GetRandomFlags::empty()) != Ok(bytes.len()) {}
        ContainerId(bytes)
    }

    /// Returns the first twelve digits.
    pub fn short(self) -> String {
        self.to_string()[..12].to_owned()
    }

    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A container to be.
#[derive(Debug, Clone)]
pub struct NewContainer {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// What its image was called.
    pub image: String,
    /// The image's manifest.
    pub manifest: Digest,
    /// The image's config.
    pub config: Digest,
    /// The image's layers, base first.
    pub layers: Vec<DiffId>,
    /// Whether it is removed when its process ends.
    pub is_temporary: bool,
    /// The rest, in a form of those who write it.
    pub facts: String,
    /// None but of what a failed step has left.
    pub failure: Option<NewFailure>,
}

/// What tells the changes of a failed step from a container that somebody wanted.
#[derive(Debug, Clone)]
pub struct NewFailure {
    /// As [`BuildRecord::project`](super::BuildRecord::project).
    pub project: String,
    /// How the step's process ended, as shells count.
    pub exit_code: i32,
    /// Layers of what was mounted in it.
    pub mounted: Vec<DiffId>,
}

/// What the store knows of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRecord {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// What its image was called.
    pub image: String,
    /// The manifest of the image it stands on.
    pub manifest: Digest,
    /// When it was made.
    pub created: Timestamp,
    /// When its process last began.
    pub started: Option<Timestamp>,
    /// When its process ended; none while it runs, and where nobody was left to see it.
    pub finished: Option<Timestamp>,
    /// How its process ended, as shells count.
    pub exit_code: Option<i32>,
    /// The kiln that is at work on it.
    pub keeper: Option<ProcessIdentity>,
    /// Its first process, while the keeper lives.
    pub process: Option<ProcessIdentity>,
    /// Whether it is removed when its process ends.
    pub is_temporary: bool,
    /// What its process's start has put among the changes, and its end removes; relative to the root.
    pub stubs: Vec<PathBuf>,
    /// The rest, in a form of those who write it.
    pub facts: String,
    /// The project of the build whose failed step has left it; none of what is a container from the beginning.
    pub project: Option<String>,
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// Its process never began.
    Created,
    /// Its process runs.
    Running,
    /// Its process has ended, with this exit code as shells count.
    Exited(i32),
}

/// 128 and SIGKILL: the process of a container dies with its kiln.
const KILLED: i32 = 137;

impl ContainerRecord {
    /// Returns what the container is doing now.
    pub fn state(&self) -> ContainerState {
        match (self.started, self.finished) {
            (None, _) => ContainerState::Created,
            // A kiln that is at work on what another one left when it was killed has no process.
            (Some(_), None) if self.is_kept() && self.process.is_some() => ContainerState::Running,
            (Some(_), _) => ContainerState::Exited(self.exit_code.unwrap_or(KILLED)),
        }
    }

    /// Tells whether a kiln is at work on it.
    pub fn is_kept(&self) -> bool {
        self.keeper.as_ref().is_some_and(ProcessIdentity::is_alive)
    }
}

impl Store {
    /// Remembers a new container, whose changes `tree` takes from now on; this process keeps it.
    ///
    /// # Errors
    /// [`Error::ContainerNameInUse`], [`Error::Io`], those of the database.
    pub fn create_container(&self, new: &NewContainer, tree: &Tree) -> Result<(), Error> {
        let keeper = own_identity()?;
        self.database().write(|transaction| {
            let taken = select(transaction, "name = ?1", &new.name)?.pop();
            if let Some(taken) = taken {
                return Err(Error::ContainerNameInUse { name: new.name.clone(), id: taken.id }.into());
            }
            transaction.execute(
                "INSERT INTO containers(id, name, image, manifest, config, created, keeper, is_temporary, facts)
                 VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    new.id.as_bytes(),
                    new.name,
                    new.image,
                    new.manifest.as_bytes(),
                    new.config.as_bytes(),
                    now(),
                    keeper,
                    new.is_temporary,
                    new.facts
                ],
            )?;
            for (position, layer) in (0_i64..).zip(&new.layers) {
                insert_layer(transaction, new.id, position, *layer)?;
            }
            if let Some(failure) = &new.failure {
                insert_failure(transaction, new.id, failure)?;
            }
            bind(transaction, tree, new.id.into())
        })
    }

    /// Makes this process the one that keeps a container. What the one before has left undone is in the record.
    ///
    /// # Errors
    /// [`Error::ContainerRunning`] or [`Error::ContainerBusy`] where another process does, [`Error::NoSuchContainer`], those of the database.
    pub fn keep_container(&self, id: ContainerId) -> Result<ContainerRecord, Error> {
        let keeper = own_identity()?;
        self.database().write(|transaction| {
            let record = unkept(transaction, id)?;
            transaction.execute(
                "UPDATE containers SET keeper = ?, process = NULL WHERE id = ?",
                params![keeper, id.as_bytes()],
            )?;
            Ok(record)
        })
    }

    /// Notes that the process of a container has begun.
    ///
    /// # Errors
    /// Those of the database.
    pub fn container_started(
        &self,
        id: ContainerId,
        process: &ProcessIdentity,
        stubs: &[PathBuf],
    ) -> Result<(), Error> {
        // A name that is no text is not found again, and then an empty file stays.
        let stubs: Vec<_> = stubs.iter().map(|stub| stub.to_string_lossy()).collect();
        let stubs = serde_json::json!(stubs).to_string();
        self.database().write(|transaction| {
            transaction.execute(
                "UPDATE containers SET started = ?, finished = NULL, exit_code = NULL, process = ?, stubs = ? WHERE id = ?",
                params![now(), process.to_string(), stubs, id.as_bytes()],
            )?;
            Ok(())
        })
    }

    /// Notes that the process of a container has ended, or could not begin, and that nobody keeps it any more; without
    /// a code, only the latter.
    ///
    /// # Errors
    /// Those of the database.
    pub fn container_ended(&self, id: ContainerId, exit_code: Option<i32>) -> Result<(), Error> {
        let finished = exit_code.map(|_| now());
        self.database().write(|transaction| {
            transaction.execute(
                "UPDATE containers SET keeper = NULL, process = NULL,
                 stubs = CASE WHEN ?2 IS NULL THEN stubs ELSE '' END, finished = COALESCE(?1, finished), exit_code = COALESCE(?2, exit_code) WHERE id = ?3",
                params![finished, exit_code, id.as_bytes()],
            )?;
            Ok(())
        })
    }

    /// Gives a container that this process keeps an empty tree of changes, over a layer that was made of those in its
    /// tree: that becomes the layer's, unless the layer has one already. Tells whether it does; else it is the caller's to
    /// drop.
    ///
    /// # Errors
    /// Those of the database.
    pub fn rebase_container(
        &self,
        id: ContainerId,
        layer: DiffId,
        (old, new): (&Tree, &Tree),
        facts: &str,
    ) -> Result<bool, Error> {
        self.database().write(|transaction| {
            let (kind, of) = TreeKey::from(layer).columns();
            let unbind = "UPDATE trees SET kind = NULL, of = NULL WHERE id = ?";
            transaction.execute(unbind, [old.id()])?;
            bind(transaction, new, id.into())?;
            push_layer(transaction, id, layer)?;
            set_facts(transaction, id, facts)?;
            let bind = "UPDATE OR IGNORE trees SET kind = ?, of = ? WHERE id = ?";
            Ok(transaction.execute(bind, params![kind, of, old.id()])? == 1)
        })
    }

    /// Adds a layer to those a container stands on, where its tree goes on as it is: a whole copy of all files.
    ///
    /// # Errors
    /// Those of the database.
    pub fn add_container_layer(&self, id: ContainerId, layer: DiffId, facts: &str) -> Result<(), Error> {
        self.database().write(|transaction| {
            push_layer(transaction, id, layer)?;
            set_facts(transaction, id, facts)
        })
    }

    /// Returns all containers, the last made first.
    ///
    /// # Errors
    /// Those of the database.
    pub fn containers(&self) -> Result<Vec<ContainerRecord>, Error> {
        self.database().read(|connection| Ok(select(connection, "?1 IS NULL", None::<&str>)?))
    }

    /// Returns the container of this name, id or beginning of an id; `failed` is what the last failed step has left.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::AmbiguousContainer`], those of the database.
    pub fn find_container(&self, name: &str) -> Result<ContainerRecord, Error> {
        self.database().read(|connection| find(connection, name))
    }

    /// Returns who keeps a container of the store at `root`, which need not be opened for that; none where nobody does, or
    /// the store cannot be read so.
    pub fn keeper_in(root: &std::path::Path, name: &str) -> Option<ProcessIdentity> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(root.join("kiln.db"), flags).ok()?;
        let record = find(&connection, name).ok()?;
        record.keeper.filter(ProcessIdentity::is_alive)
    }

    /// Returns the layers a container stands on, base first.
    ///
    /// # Errors
    /// Those of the database.
    pub fn container_layers(&self, id: ContainerId) -> Result<Vec<DiffId>, Error> {
        self.database().read(|connection| Ok(layers(connection, id)?))
    }

    /// Removes a container and its changes, and what has stayed only for it.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::ContainerRunning`] or [`Error::ContainerBusy`] where another process keeps it,
    /// [`Error::Io`], those of the database.
    pub fn remove_container(&self, id: ContainerId) -> Result<(), Error> {
        self.forget_container(id)?;
        self.collect_if_alone().map(drop)
    }

    fn forget_container(&self, id: ContainerId) -> Result<(), Error> {
        let tree = self.unlist_container(id)?;
        tree.map_or(Ok(()), |tree| self.remove_unbound(&self.tree(tree)))
    }

    /// Forgets what failed steps have left, but for the last of each project and the last of all. Their directories go when
    /// nobody has the store open: that takes time, and somebody may be looking at one.
    ///
    /// # Errors
    /// Those of the database.
    pub fn forget_old_failures(&self) -> Result<(), Error> {
        self.unlist_failures(surplus(self.failures()?))
    }

    /// Forgets what failed steps have left, all of it; as [`Store::forget_old_failures`].
    ///
    /// # Errors
    /// Those of the database.
    pub fn forget_failures(&self) -> Result<(), Error> {
        self.unlist_failures(self.failures()?)
    }

    /// Returns what failed steps have left, the last first.
    ///
    /// # Errors
    /// Those of the database.
    pub fn failures(&self) -> Result<Vec<ContainerRecord>, Error> {
        self.database().read(|connection| Ok(failures(connection)?))
    }

    fn unlist_failures(&self, failures: Vec<ContainerRecord>) -> Result<(), Error> {
        for failure in failures {
            match self.unlist_container(failure.id) {
                // Somebody looks at it, or was as quick.
                Err(Error::ContainerRunning { .. } | Error::NoSuchContainer { .. }) => {}
                done => drop(done?),
            }
        }
        Ok(())
    }

    /// Takes a container from the lists; returns the tree of its changes, which nobody has then.
    fn unlist_container(&self, id: ContainerId) -> Result<Option<i64>, Error> {
        let (kind, of) = TreeKey::from(id).columns();
        self.database().write(|transaction| {
            let record = unkept(transaction, id)?;
            let images: Option<(Digest, Digest)> = transaction
                .query_row("SELECT manifest, config FROM containers WHERE id = ?", [id.as_bytes()], |row| {
                    Ok((Digest::from_bytes(row.get(0)?), Digest::from_bytes(row.get(1)?)))
                })
                .optional()?;
            for blob in images.into_iter().flat_map(|(manifest, config)| [manifest, config]) {
                doom(transaction, BLOB, blob)?;
            }
            // The layers below a failed step are results that the next build looks up, whether an image has them or not.
            if record.project.is_none() {
                for layer in layers(transaction, id)? {
                    doom(transaction, LAYER, layer.digest())?;
                }
            }
            let tree: Option<i64> = transaction
                .query_row("SELECT id FROM trees WHERE kind = ? AND of = ?", params![kind, of], |row| row.get(0))
                .optional()?;
            transaction
                .execute("UPDATE trees SET kind = NULL, of = NULL WHERE kind = ? AND of = ?", params![kind, of])?;
            for statement in [
                "DELETE FROM container_layers WHERE container = ?",
                "DELETE FROM container_mounts WHERE container = ?",
                "DELETE FROM containers WHERE id = ?",
            ] {
                transaction.execute(statement, [id.as_bytes()])?;
            }
            Ok(tree)
        })
    }

    /// Removes the containers that were to go when their process ended, and whose kiln died before, and what failed steps
    /// have left long ago. The caller is alone.
    pub(super) fn clear_containers(&self) -> Result<(), Error> {
        self.forget_old_failures()?;
        let left = self.database().read(|connection| Ok(select(connection, "is_temporary = ?1", true)?))?;
        let removed: Vec<_> = left.iter().map(|container| self.forget_container(container.id)).collect();
        removed.into_iter().collect()
    }
}

/// A step is looked into right after it failed, and once more after it was mended.
const FAILURES_OF_A_PROJECT: usize = 2;

/// A failed step may have written much.
const FAILURES: usize = 8;

/// Nobody remembers longer why a step failed.
const FAILURE_AGE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Returns those of the failures, newest first, that are not to be kept.
fn surplus(failures: Vec<ContainerRecord>) -> Vec<ContainerRecord> {
    let mut kept: BTreeMap<Option<String>, usize> = BTreeMap::new();
    let oldest = Timestamp::now() - FAILURE_AGE;
    let is_surplus = move |failure: &ContainerRecord| {
        let all: usize = kept.values().sum();
        let of_project = kept.entry(failure.project.clone()).or_default();
        let is_kept = *of_project < FAILURES_OF_A_PROJECT && all < FAILURES && failure.created > oldest;
        *of_project += usize::from(is_kept);
        !is_kept
    };
    failures.into_iter().filter(is_surplus).collect()
}

fn own_identity() -> Result<String, Error> {
    let own = ProcessIdentity::own().map_err(|source| Error::io("read", "/proc/self/stat", source))?;
    Ok(own.to_string())
}

fn bind(transaction: &Transaction<'_>, tree: &Tree, key: TreeKey) -> Result<(), Failure> {
    let (kind, of) = key.columns();
    transaction.execute("UPDATE trees SET kind = ?, of = ? WHERE id = ?", params![kind, of, tree.id()])?;
    Ok(())
}

/// Returns a container that no other process keeps.
fn unkept(transaction: &Transaction<'_>, id: ContainerId) -> Result<ContainerRecord, Failure> {
    let found = select(transaction, "id = ?1", id.as_bytes())?.pop();
    let record = found.ok_or_else(|| Error::NoSuchContainer { name: id.short() })?;
    let is_own = record.keeper.as_ref().is_some_and(|keeper| keeper.pid() == std::process::id() as i32);
    if record.is_kept() && !is_own {
        return Err(match record.state() {
            ContainerState::Running => Error::ContainerRunning { name: record.name },
            _ => Error::ContainerBusy { name: record.name },
        }
        .into());
    }
    Ok(record)
}

fn insert_layer(transaction: &Transaction<'_>, id: ContainerId, position: i64, layer: DiffId) -> rusqlite::Result<()> {
    transaction.prepare_cached("INSERT INTO container_layers VALUES(?, ?, ?)")?.execute(params![
        id.as_bytes(),
        position,
        layer.digest().as_bytes()
    ])?;
    Ok(())
}

/// Says of a new container that a failed step has left it.
fn insert_failure(transaction: &Transaction<'_>, id: ContainerId, failure: &NewFailure) -> rusqlite::Result<()> {
    let NewFailure { project, exit_code, mounted } = failure;
    transaction.execute(
        "UPDATE containers SET project = ?, started = created, finished = created, exit_code = ?, keeper = NULL
         WHERE id = ?",
        params![project, exit_code, id.as_bytes()],
    )?;
    for layer in mounted {
        transaction.execute(
            "INSERT OR IGNORE INTO container_mounts VALUES(?, ?)",
            params![id.as_bytes(), layer.digest().as_bytes()],
        )?;
    }
    Ok(())
}

fn push_layer(transaction: &Transaction<'_>, id: ContainerId, layer: DiffId) -> Result<(), Failure> {
    let position = layers(transaction, id)?.len() as i64;
    Ok(insert_layer(transaction, id, position, layer)?)
}

fn set_facts(transaction: &Transaction<'_>, id: ContainerId, facts: &str) -> Result<(), Failure> {
    transaction.execute("UPDATE containers SET facts = ? WHERE id = ?", params![facts, id.as_bytes()])?;
    Ok(())
}

fn layers(connection: &Connection, id: ContainerId) -> rusqlite::Result<Vec<DiffId>> {
    let mut query =
        connection.prepare_cached("SELECT diff_id FROM container_layers WHERE container = ? ORDER BY position")?;
    let layers = query.query_map([id.as_bytes()], |row| Ok(DiffId::new(Digest::from_bytes(row.get(0)?))))?;
    layers.collect()
}

/// What the last failure is called besides its name, where no container is.
const LAST_FAILURE: &str = "failed";

fn find(connection: &Connection, name: &str) -> Result<ContainerRecord, Failure> {
    if let Some(found) = select(connection, "name = ?1", name)?.pop() {
        return Ok(found);
    }
    if name == LAST_FAILURE
        && let Some(last) = failures(connection)?.into_iter().next()
    {
        return Ok(last);
    }
    let is_id = !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digits = name.to_ascii_lowercase();
    let mut found =
        if is_id { select(connection, "substr(lower(hex(id)), 1, length(?1)) = ?1", &digits)? } else { Vec::new() };
    let name = name.to_owned();
    match (found.pop(), found.len()) {
        (Some(only), 0) => Ok(only),
        (None, _) => Err(Error::NoSuchContainer { name }.into()),
        (Some(_), others) => Err(Error::AmbiguousContainer { name, count: others + 1 }.into()),
    }
}

/// Returns what failed steps have left, the last first.
fn failures(connection: &Connection) -> rusqlite::Result<Vec<ContainerRecord>> {
    select(connection, "project IS NOT ?1", None::<&str>)
}

/// Returns the containers that stand on an image.
pub(super) fn containers_of(connection: &Connection, manifest: Digest) -> rusqlite::Result<Vec<ContainerRecord>> {
    select(connection, "manifest = ?1", manifest.as_bytes())
}

/// Returns the containers for which `condition` holds, the last made first.
fn select(
    connection: &Connection,
    condition: &'static str,
    parameter: impl rusqlite::ToSql,
) -> rusqlite::Result<Vec<ContainerRecord>> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT id, name, image, manifest, created, started, finished, exit_code, keeper, process, is_temporary, stubs,
         facts, project FROM containers WHERE {condition} ORDER BY created DESC, name"
    ))?;
    query.query_map([parameter], record)?.collect()
}

fn record(row: &Row<'_>) -> rusqlite::Result<ContainerRecord> {
    let identity = |column| -> rusqlite::Result<Option<ProcessIdentity>> {
        Ok(row.get::<_, Option<String>>(column)?.and_then(|text| text.parse().ok()))
    };
    Ok(ContainerRecord {
        id: ContainerId(row.get(0)?),
        name: row.get(1)?,
        image: row.get(2)?,
        manifest: Digest::from_bytes(row.get(3)?),
        created: time(row.get(4)?),
        started: row.get::<_, Option<i64>>(5)?.map(time),
        finished: row.get::<_, Option<i64>>(6)?.map(time),
        exit_code: row.get(7)?,
        keeper: identity(8)?,
        process: identity(9)?,
        is_temporary: row.get(10)?,
        stubs: serde_json::from_str(&row.get::<_, String>(11)?).unwrap_or_default(),
        facts: row.get(12)?,
        project: row.get(13)?,
    })
}
