use std::sync::{Arc, PoisonError};

use serde_json::{Value, json};

use super::recipe::Ticket;
use super::{Error, Executor, Output, StatCache};
use crate::context::{Context, DigestCache, Ignore, StatKey};
use crate::graph::{Git, GitMtime, Http};
use crate::oci::Digest;
use crate::remote::{Commit, Fetched, Identity};
use crate::solve::{Event, Lookup, Work};

/// Files from elsewhere, as they are here.
pub struct Remote {
    pub(super) context: Context,
    /// What a result that reads them depends on, beside what is read.
    pub(super) identity: Value,
}

impl Executor {
    /// Asks whether the file that is kept is still the one that is there.
    pub(super) fn look_up_http(&self, work: &Work<'_, Output>, http: &Http) -> Result<Lookup<Output, Ticket>, Error> {
        let authorization = self.keyring().http(http)?;
        Ok(match self.remotes.known(http, authorization.as_ref(), &work.cancel)? {
            Some(fetched) => Lookup::Hit(of_http(&fetched)?),
            None => {
                self.explain_fetch(work)?;
                Lookup::Miss(Ticket::Download)
            }
        })
    }

    pub(super) fn download(&self, work: &Work<'_, Output>, http: &Http) -> Result<Output, Error> {
        let tell = |done_bytes, total_bytes, finished| {
            let what = http.shown();
            work.observer.observe(Event::Transfer { step: Some(work.id), what, done_bytes, total_bytes, finished });
        };
        let last = std::cell::Cell::new((0, None));
        let progress = |done, total| {
            last.set((done, total));
            tell(done, total, false);
        };
        let authorization = self.keyring().http(http)?;
        let fetched = self.remotes.download(http, authorization.as_ref(), &progress, &work.cancel)?;
        let (done, total) = last.get();
        tell(done, total, true);
        of_http(&fetched)
    }

    /// Asks which commit is meant, and whether it is here.
    pub(super) fn look_up_git(&self, work: &Work<'_, Output>, git: &Git) -> Result<Lookup<Output, Ticket>, Error> {
        let opened = self.keyring().git(git)?;
        let commit = self.remotes.resolve(git, opened.access(), &work.cancel)?;
        Ok(match self.remotes.checked_out(git, &commit)? {
            Some(fetched) => Lookup::Hit(self.of_git(&fetched, git)?),
            None => {
                self.explain_fetch(work)?;
                Lookup::Miss(Ticket::CheckOut(commit))
            }
        })
    }

    pub(super) fn check_out(&self, work: &Work<'_, Output>, git: &Git, commit: &Commit) -> Result<Output, Error> {
        let opened = self.keyring().git(git)?;
        self.of_git(&self.remotes.check_out(git, commit, opened.access(), &work.cancel)?, git)
    }

    /// The name by which a commit was found, and where, are nobody's business.
    fn of_git(&self, fetched: &Fetched, git: &Git) -> Result<Output, Error> {
        let Identity::Commit { commit, .. } = &fetched.identity else { unreachable!("it was checked out") };
        let identity = json!({
            "commit": commit,
            "subdirectory": git.subdirectory,
            "keep_git_directory": git.keep_git_directory,
            "submodules": git.submodules,
            "commit_time": git.mtime == GitMtime::Commit,
        });
        let digests = Arc::new(StatCache::new(self.library.store(), &fetched.directory));
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).push(digests.clone());
        of(fetched, identity, digests)
    }
}

fn of_http(fetched: &Fetched) -> Result<Output, Error> {
    let Identity::File { digest, last_modified } = &fetched.identity else { unreachable!("it was downloaded") };
    let identity = json!({ "digest": digest, "last_modified": last_modified });
    of(fetched, identity, Arc::new(Download(*digest)))
}

fn of(fetched: &Fetched, identity: Value, digests: Arc<dyn DigestCache>) -> Result<Output, Error> {
    let context = Context::open(&fetched.directory, Ignore::none(), Some(digests));
    let context = context.map_err(super::file::Error::from)?;
    Ok(Output::Remote(Arc::new(Remote { context, identity })))
}

/// The digest of the only file of a directory, which was known when it was written.
struct Download(Digest);

impl DigestCache for Download {
    fn get(&self, keys: &[StatKey]) -> Vec<Option<Digest>> {
        vec![Some(self.0); keys.len()]
    }

    fn put(&self, _: &[(StatKey, Digest)]) {}
}
