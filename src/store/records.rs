use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};
use rustix::rand::GetRandomFlags;
use serde::{Deserialize, Serialize};

use super::{Error, Store, now, time};
use crate::graph::Place;
use crate::oci::{DiffId, Digest};

/// Identifies one build: twelve hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BuildId(String);

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl BuildId {
    pub(super) fn from_column(text: String) -> BuildId {
        BuildId(text)
    }

    /// Returns an id nobody has, for what is not recorded.
    pub fn random() -> BuildId {
        let mut bytes = [0_u8; 6];
        // The clock and the process tell builds apart well enough where the kernel has no random bytes yet.
        if rustix::rand::getrandom(&mut bytes[..], GetRandomFlags::NONBLOCK) != Ok(bytes.len()) {
            let mixed = (now() as u64) ^ (u64::from(std::process::id()) << 32);
            bytes.copy_from_slice(&mixed.to_le_bytes()[..6]);
        }
        BuildId(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was executed.
    Done,
    /// Its result was known.
    Cached,
    /// It failed.
    Failed,
    /// It was stopped, or its process died.
    Interrupted,
    /// It was never begun.
    Skipped,
}

impl Outcome {
    const ALL: [(Outcome, &str); 5] = [
        (Outcome::Done, "done"),
        (Outcome::Cached, "cached"),
        (Outcome::Failed, "failed"),
        (Outcome::Interrupted, "interrupted"),
        (Outcome::Skipped, "skipped"),
    ];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        Outcome::ALL.iter().find(|(outcome, _)| *outcome == self).expect("all outcomes have words").1
    }

    fn from_column(word: &str) -> Outcome {
        Outcome::ALL.iter().find(|(_, known)| *known == word).map_or(Outcome::Interrupted, |(outcome, _)| *outcome)
    }
}

/// One build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRecord {
    /// Which.
    pub id: BuildId,
    /// What was built, for people.
    pub title: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// How it ended; none while it runs.
    pub outcome: Option<Outcome>,
    /// What was built is a version of what other builds of the same project made.
    pub project: String,
    /// Digest of the image's manifest, or of the index; none where nothing came of it.
    pub image: Option<Digest>,
    /// What else is known of it, in a form of those who wrote it; while it runs, only what was known at its beginning.
    pub facts: String,
}

/// How a build ended, and what is to be remembered of it.
#[derive(Debug, Clone)]
pub struct BuildEnd {
    /// How.
    pub outcome: Outcome,
    /// As [`BuildRecord::project`].
    pub project: String,
    /// As [`BuildRecord::image`].
    pub image: Option<Digest>,
    /// As [`BuildRecord::facts`].
    pub facts: String,
    /// All of them.
    pub steps: Vec<StepRecord>,
}

/// One step of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRecord {
    /// From 1.
    pub number: usize,
    /// The instruction.
    pub title: String,
    /// What tells it from others.
    pub place: Place,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub duration: Duration,
    /// The key of its result in the cache, or the digest of the image that it is; none where neither is known.
    pub key: Option<Digest>,
    /// The layer it led to.
    pub result: Option<DiffId>,
    /// What else is known of it, in a form of those who wrote it.
    pub facts: String,
}

/// A step of a past build that has a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastStep {
    /// Whose it is.
    pub build: BuildId,
    /// Its number there.
    pub number: usize,
    /// What told it from others.
    pub place: Place,
    /// The key of its result, or the digest of the image that it is.
    pub key: Digest,
}

/// Builds that are remembered; more would only fill the disk with logs nobody reads.
const KEPT_BUILDS: i64 = 200;

/// Builds that are looked at for a step like another one: branches that take turns are among so many.
const PAST_BUILDS: i64 = 20;

impl Store {
    /// Begins the record of a build.
    ///
    /// # Errors
    /// Those of the database.
    pub fn begin_build(&self, title: &str) -> Result<BuildId, Error> {
        self.begin_build_with(title, "")
    }

    /// Begins the record of a build of which this is known already, should nobody be left to end it.
    ///
    /// # Errors
    /// Those of the database.
    pub fn begin_build_with(&self, title: &str, facts: &str) -> Result<BuildId, Error> {
        let id = BuildId::random();
        self.database().write(|transaction| {
            let mut insert =
                transaction.prepare_cached("INSERT INTO builds(id, title, started, facts) VALUES(?, ?, ?, ?)")?;
            insert.execute(params![id.0, title, now(), facts])?;
            Ok(())
        })?;
        Ok(id)
    }

    /// Returns where the log of a step belongs (`step` from 1), and makes the directory of the build's logs.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`].
    pub fn log_path(&self, build: &BuildId, step: usize) -> Result<PathBuf, Error> {
        let directory = self.log_directory(build);
        fs::create_dir_all(&directory).map_err(|source| Error::io("create", &directory, source))?;
        Ok(directory.join(format!("{step}.log")))
    }

    /// Ends the record of a build, and forgets the oldest builds.
    ///
    /// # Errors
    /// [`Error::Io`], those of the database.
    pub fn finish_build(&self, build: &BuildId, end: &BuildEnd) -> Result<(), Error> {
        let forgotten: Vec<String> = self.database().write(|transaction| {
            for step in &end.steps {
                insert_step(transaction, build, step)?;
            }
            transaction
                .prepare_cached(
                    "UPDATE builds SET finished = ?, outcome = ?, project = ?, image = ?, facts = ? WHERE id = ?",
                )?
                .execute(params![
                    now(),
                    end.outcome.as_str(),
                    end.project,
                    end.image.as_ref().map(Digest::as_bytes),
                    end.facts,
                    build.0
                ])?;
            let mut query = transaction.prepare_cached(
                "SELECT id FROM builds WHERE finished IS NOT NULL AND number <= (SELECT MAX(number) FROM builds) - ?",
            )?;
            let forgotten: Vec<String> = query.query_map([KEPT_BUILDS], |row| row.get(0))?.collect::<Result<_, _>>()?;
            for id in &forgotten {
                transaction.execute("DELETE FROM steps WHERE build = ?", [id])?;
                transaction.execute("DELETE FROM builds WHERE id = ?", [id])?;
            }
            if !forgotten.is_empty() {
                // Of what was removed from the cache, nobody can be told any more.
                transaction.execute(
                    "DELETE FROM cache WHERE removed IS NOT NULL AND key NOT IN (SELECT key FROM steps WHERE key IS NOT NULL)",
                    [],
                )?;
            }
            Ok(forgotten)
        })?;
        forgotten.into_iter().try_for_each(|id| {
            let directory = self.log_directory(&BuildId(id));
            match fs::remove_dir_all(&directory) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", directory, source)),
                _ => Ok(()),
            }
        })
    }

    /// Returns all remembered builds, the newest first.
    ///
    /// # Errors
    /// Those of the database.
    pub fn builds(&self) -> Result<Vec<BuildRecord>, Error> {
        self.database().read(|connection| {
            let mut query = connection.prepare(&format!("{SELECT_BUILDS} ORDER BY number DESC"))?;
            let builds = query.query_map([], build_record)?;
            Ok(builds.collect::<Result<_, _>>()?)
        })
    }

    /// Returns the newest build that made an image.
    ///
    /// # Errors
    /// Those of the database.
    pub fn build_of(&self, image: Digest) -> Result<Option<BuildRecord>, Error> {
        self.database().read(|connection| {
            let mut query =
                connection.prepare(&format!("{SELECT_BUILDS} WHERE image = ? ORDER BY number DESC LIMIT 1"))?;
            Ok(query.query_row([image.as_bytes()], build_record).optional()?)
        })
    }

    /// Returns the build of the same project that was before another one.
    ///
    /// # Errors
    /// [`Error::FirstBuild`], those of the database.
    pub fn build_before(&self, build: &BuildRecord) -> Result<BuildRecord, Error> {
        let found = self.database().read(|connection| {
            let mut query = connection.prepare(&format!(
                "{SELECT_BUILDS} WHERE project = ? AND number < (SELECT number FROM builds WHERE id = ?)
                 ORDER BY number DESC LIMIT 1"
            ))?;
            Ok(query.query_row(params![build.project, build.id.0], build_record).optional()?)
        })?;
        found.ok_or_else(|| Error::FirstBuild { id: build.id.to_string() })
    }

    /// Returns the steps with keys of the last builds of a project, the newest build first.
    ///
    /// # Errors
    /// Those of the database.
    pub fn past_steps(&self, project: &str) -> Result<Vec<PastStep>, Error> {
        let condition = "builds.number IN (SELECT number FROM builds WHERE project = ? ORDER BY number DESC LIMIT ?)
             ORDER BY builds.number DESC, steps.number";
        self.past(condition, project)
    }

    /// Returns the last steps with keys, of whatever build, that said this.
    ///
    /// # Errors
    /// Those of the database.
    pub fn steps_saying(&self, text: &str) -> Result<Vec<PastStep>, Error> {
        self.past("text = ? ORDER BY builds.number DESC LIMIT ?", text)
    }

    /// Returns the last step that was done at this place: of this project and stage rather than of others.
    ///
    /// # Errors
    /// Those of the database.
    pub fn last_done(&self, project: &str, place: &Place) -> Result<Option<StepRecord>, Error> {
        self.database().read(|connection| {
            let mut query = connection.prepare_cached(&format!(
                "SELECT {STEP_COLUMNS} FROM steps JOIN builds ON builds.id = steps.build
                 WHERE text = ? AND steps.outcome = 'done'
                 ORDER BY builds.project = ? DESC, stage = ? DESC, builds.number DESC LIMIT 1"
            ))?;
            Ok(query.query_row(params![place.text, project, place.stage], step_record).optional()?)
        })
    }

    /// Returns the steps that led to a layer, of the oldest remembered build first.
    ///
    /// # Errors
    /// Those of the database.
    pub fn steps_making(&self, layer: DiffId) -> Result<Vec<(BuildId, StepRecord)>, Error> {
        self.database().read(|connection| {
            let mut query = connection.prepare(&format!(
                "SELECT {STEP_COLUMNS}, builds.id FROM steps JOIN builds ON builds.id = steps.build
                 WHERE result = ? ORDER BY builds.number, steps.number"
            ))?;
            let steps = query.query_map([layer.digest().as_bytes()], |row| {
                Ok((BuildId(row.get(STEP_COLUMN_COUNT)?), step_record(row)?))
            })?;
            Ok(steps.collect::<Result<_, _>>()?)
        })
    }

    fn past(&self, condition: &str, of: &str) -> Result<Vec<PastStep>, Error> {
        self.database().read(|connection| {
            let mut query = connection.prepare_cached(&format!(
                "SELECT builds.id, steps.number, stage, position, text, key
                 FROM steps JOIN builds ON builds.id = steps.build WHERE key IS NOT NULL AND {condition}"
            ))?;
            let steps = query.query_map(params![of, PAST_BUILDS], past_step)?;
            Ok(steps.collect::<Result<_, _>>()?)
        })
    }

    /// Returns the build whose id begins with `id`; the newest where none is given.
    ///
    /// # Errors
    /// [`Error::NoBuilds`], [`Error::NoSuchBuild`], [`Error::AmbiguousBuild`], those of the database.
    pub fn find_build(&self, id: Option<&str>) -> Result<BuildRecord, Error> {
        let mut found = self.builds()?;
        let Some(id) = id else {
            return found.into_iter().next().ok_or(Error::NoBuilds);
        };
        found.retain(|build| build.id.0.starts_with(id));
        match (found.pop(), found.len()) {
            (Some(build), 0) if !id.is_empty() => Ok(build),
            (Some(_), others) => Err(Error::AmbiguousBuild { id: id.to_owned(), count: others + 1 }),
            (None, _) => Err(Error::NoSuchBuild { id: id.to_owned() }),
        }
    }

    /// Returns the steps of a build in order.
    ///
    /// # Errors
    /// Those of the database.
    pub fn steps(&self, build: &BuildId) -> Result<Vec<StepRecord>, Error> {
        self.database().read(|connection| {
            let mut query =
                connection.prepare(&format!("SELECT {STEP_COLUMNS} FROM steps WHERE build = ? ORDER BY number"))?;
            let steps = query.query_map([&build.0], step_record)?;
            Ok(steps.collect::<Result<_, _>>()?)
        })
    }

    /// Returns the log of a step (from 1); none where the step wrote nothing.
    ///
    /// # Errors
    /// [`Error::NoSuchStep`], those of the database.
    pub fn step_log(&self, build: &BuildId, step: usize) -> Result<Option<PathBuf>, Error> {
        let path = self.log_directory(build).join(format!("{step}.log"));
        if path.is_file() {
            return Ok(Some(path));
        }
        match self.steps(build)?.iter().any(|record| record.number == step) {
            true => Ok(None),
            false => Err(Error::NoSuchStep { build: build.to_string(), step }),
        }
    }

    /// Marks builds of dead processes as interrupted. The caller is alone.
    pub(super) fn end_abandoned_builds(&self) -> Result<(), Error> {
        let any = self.database().read(|connection| {
            let mut query = connection.prepare_cached("SELECT 1 FROM builds WHERE finished IS NULL")?;
            Ok(query.exists([])?)
        })?;
        if !any {
            return Ok(());
        }
        self.database().write(|transaction| {
            transaction.execute(
                "UPDATE builds SET finished = started, outcome = ? WHERE finished IS NULL",
                [Outcome::Interrupted.as_str()],
            )?;
            Ok(())
        })
    }

    fn log_directory(&self, build: &BuildId) -> PathBuf {
        self.root().join("logs").join(&build.0)
    }
}

const SELECT_BUILDS: &str = "SELECT id, title, started, finished, outcome, project, image, facts FROM builds";

const STEP_COLUMNS: &str =
    "steps.number, steps.title, stage, position, text, steps.outcome, duration, key, result, steps.facts";
const STEP_COLUMN_COUNT: usize = 10;

fn insert_step(connection: &rusqlite::Connection, build: &BuildId, step: &StepRecord) -> rusqlite::Result<()> {
    let duration = i64::try_from(step.duration.as_micros()).unwrap_or(i64::MAX);
    let statement = "INSERT OR REPLACE INTO steps(build, number, title, stage, position, text, outcome, duration, key, result, facts)
         VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    connection.prepare_cached(statement)?.execute(params![
        build.0,
        step.number as i64,
        step.title,
        step.place.stage,
        step.place.position as i64,
        step.place.text,
        step.outcome.as_str(),
        duration,
        step.key.as_ref().map(Digest::as_bytes),
        step.result.as_ref().map(|result| *result.digest().as_bytes()),
        step.facts
    ])?;
    Ok(())
}

fn build_record(row: &Row<'_>) -> rusqlite::Result<BuildRecord> {
    Ok(BuildRecord {
        id: BuildId(row.get(0)?),
        title: row.get(1)?,
        started: time(row.get(2)?),
        finished: row.get::<_, Option<i64>>(3)?.map(time),
        outcome: row.get::<_, Option<String>>(4)?.map(|word| Outcome::from_column(&word)),
        project: row.get(5)?,
        image: row.get::<_, Option<[u8; 32]>>(6)?.map(Digest::from_bytes),
        facts: row.get(7)?,
    })
}

fn place(row: &Row<'_>, first: usize) -> rusqlite::Result<Place> {
    let position = row.get::<_, i64>(first + 1)? as usize;
    Ok(Place { stage: row.get(first)?, position, text: row.get(first + 2)? })
}

fn step_record(row: &Row<'_>) -> rusqlite::Result<StepRecord> {
    Ok(StepRecord {
        number: row.get::<_, i64>(0)? as usize,
        title: row.get(1)?,
        place: place(row, 2)?,
        outcome: Outcome::from_column(&row.get::<_, String>(5)?),
        duration: Duration::from_micros(row.get::<_, i64>(6)? as u64),
        key: row.get::<_, Option<[u8; 32]>>(7)?.map(Digest::from_bytes),
        result: row.get::<_, Option<[u8; 32]>>(8)?.map(|bytes| DiffId::new(Digest::from_bytes(bytes))),
        facts: row.get(9)?,
    })
}

fn past_step(row: &Row<'_>) -> rusqlite::Result<PastStep> {
    let key = Digest::from_bytes(row.get(5)?);
    let (build, number) = (BuildId(row.get(0)?), row.get::<_, i64>(1)? as usize);
    Ok(PastStep { build, number, place: place(row, 2)?, key })
}
