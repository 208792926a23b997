use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dockerfile::{MAX_BYTES, too_large};
use super::fetch::Fetch;
use super::policy::Policy;
use super::reproducible::{EPOCH, newest};
use super::{BuildOptions, ContextSource, Error, file_error};
use crate::context::{self, ARCHIVE_START_BYTES, Context, Ignore, Owners, is_archive};
use crate::exec::StatCache;
use crate::graph::{Git, GitMtime, Http};
use crate::store::{Store, Temporary};
use crate::sys::Cancel;

/// The files of a build, on this machine for as long as it takes.
pub(super) struct MainContext {
    /// What people call it.
    pub(super) name: String,
    directory: PathBuf,
    /// Whoever made the files is who runs kiln: ignore files count, and links in the way to the build file are followed.
    pub(super) is_local: bool,
    /// It was fetched, and so judged by the policy already.
    pub(super) is_remote: bool,
    /// When it was made, in seconds, where a repository or a server says so.
    time: Option<i64>,
    /// The text of the build file, where that came in place of files.
    pub(super) text: Option<Vec<u8>>,
    /// Whom files of an archive belong to.
    owners: Owners,
    temporary: Option<Temporary>,
}

impl MainContext {
    /// Returns the files of a directory that somebody else has filled, and nothing more is known of.
    fn of(name: String, directory: PathBuf) -> MainContext {
        let owners = Owners::default();
        MainContext {
            name,
            directory,
            is_local: false,
            is_remote: false,
            time: None,
            text: None,
            owners,
            temporary: None,
        }
    }

    /// Fetches and unpacks what must be.
    pub(super) fn prepare(options: &BuildOptions, store: &Store, cancel: &Cancel) -> Result<MainContext, Error> {
        let policy = Policy::load(options.source_policy.as_deref())?;
        let source = &options.context;
        let name = source.to_string();
        match source {
            ContextSource::Directory(_) => MainContext::local(source),
            ContextSource::Archive(path) => {
                let archive = File::open(path).map_err(file_error("open", path))?;
                let (start, archive) = peek(archive).map_err(file_error("read", path))?;
                if !is_archive(&start) {
                    return Err(Error::NotAnArchive { path: path.clone() });
                }
                unpacked(name, archive, store, cancel)
            }
            ContextSource::Remote(url) => match Git::of_context(url) {
                Some(Ok(git)) => checked_out(name, git, &Fetch::new(options, &policy, store, cancel)),
                Some(Err(source)) => Err(Error::GitContext { context: name, source }),
                None => downloaded(name, url, &Fetch::new(options, &policy, store, cancel)),
            },
            ContextSource::Stream(stream) => {
                let (start, stream) = peek(cancel.guard(stream.clone())).map_err(Error::Stream)?;
                if is_archive(&start) { unpacked(name, stream, store, cancel) } else { text(name, stream, store) }
            }
        }
    }

    /// Takes a directory, the only context that needs no store.
    pub(super) fn local(source: &ContextSource) -> Result<MainContext, Error> {
        match source {
            ContextSource::Directory(path) if path.is_dir() => {
                let (name, directory) = (source.to_string(), path.clone());
                Ok(MainContext { is_local: true, ..MainContext::of(name, directory) })
            }
            other => Err(Error::NoContext { path: other.to_string().into() }),
        }
    }

    /// Returns when the context was made (`SOURCE_DATE_EPOCH=context`), in seconds: what its server or repository says, or
    /// when the newest file of an archive was changed. A directory here has no time.
    pub(super) fn time(&self) -> Option<i64> {
        let is_archive = self.temporary.is_some() && self.text.is_none();
        self.time.or_else(|| if is_archive { newest(&self.directory) } else { None })
    }

    /// Returns where the files are.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the files as a build sees them, and what remembers their digests where that is worth it.
    pub(super) fn open(&self, ignore: &Ignore, store: &Store) -> Result<(Context, Option<Arc<StatCache>>), Error> {
        // What was unpacked for this build is gone after it.
        let cache = self.temporary.is_none().then(|| Arc::new(StatCache::new(store, &self.directory)));
        let digests = cache.clone().map(|cache| cache as Arc<dyn context::DigestCache>);
        let context = Context::open(&self.directory, ignore.clone(), digests)?.owned_by(self.owners.clone());
        Ok((context, cache))
    }
}

/// Build argument that keeps `.git` in a context.
const KEEP_GIT_DIRECTORY: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

/// Name of a file that is no archive, in the context that it is alone (BuildKit's).
const DOWNLOADED: &str = "context";

fn checked_out(name: String, mut git: Git, fetch: &Fetch<'_>) -> Result<MainContext, Error> {
    let build_args = &fetch.options.build_args;
    let keep = build_args.get(KEEP_GIT_DIRECTORY).map(String::as_str);
    git.keep_git_directory |= matches!(keep, Some("1" | "true" | "True" | "TRUE" | "t" | "T"));
    if build_args.contains_key(EPOCH) {
        // Files whose time is that of the build would not be the same the next time.
        git.mtime = GitMtime::Commit;
    }
    let fetched = fetch.git(&git)?;
    let time = fetched.identity.time();
    Ok(MainContext { is_remote: true, time, ..MainContext::of(name, fetched.directory) })
}

fn downloaded(name: String, url: &str, fetch: &Fetch<'_>) -> Result<MainContext, Error> {
    let http = Http { url: url.to_owned(), name: DOWNLOADED.to_owned(), checksum: None };
    let fetched = fetch.http(&http)?;
    let time = fetched.identity.time();
    let path = fetched.directory.join(DOWNLOADED);
    let file = File::open(&path).map_err(file_error("open", &path))?;
    let (start, file) = peek(file).map_err(file_error("read", &path))?;
    if is_archive(&start) {
        return Ok(MainContext { is_remote: true, time, ..unpacked(name, file, fetch.store, fetch.cancel)? });
    }
    let text = Some(whole(file).map_err(file_error("read", &path))?);
    Ok(MainContext { is_remote: true, time, text, ..MainContext::of(name, fetched.directory) })
}

/// Reads a build file.
fn whole(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    reader.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_BYTES { Err(too_large()) } else { Ok(text) }
}

/// Returns the first bytes of `reader`, and all of it.
fn peek(mut reader: impl Read) -> io::Result<(Vec<u8>, impl Read)> {
    let mut start = Vec::new();
    reader.by_ref().take(ARCHIVE_START_BYTES as u64).read_to_end(&mut start)?;
    Ok((start.clone(), Cursor::new(start).chain(reader)))
}

fn unpacked(name: String, archive: impl Read + Send, store: &Store, cancel: &Cancel) -> Result<MainContext, Error> {
    let temporary = store.temporary()?;
    let owners = context::unpack(archive, temporary.path(), cancel)?;
    let directory = temporary.path().to_owned();
    Ok(MainContext { owners, temporary: Some(temporary), ..MainContext::of(name, directory) })
}

/// Takes a stream for a build file that needs no files.
fn text(name: String, stream: impl Read, store: &Store) -> Result<MainContext, Error> {
    let text = whole(stream).map_err(Error::Stream)?;
    let temporary = store.temporary()?;
    let directory = temporary.path().to_owned();
    Ok(MainContext { text: Some(text), temporary: Some(temporary), ..MainContext::of(name, directory) })
}
