use std::sync::Arc;

use serde_json::{Value, json};

use super::recipe::Ticket;
use super::{Error, Executor, Output};
use crate::context::{Context, Ignore};
use crate::graph::{Git, GitMtime, Http};
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
            None => Lookup::Miss(Ticket::Download),
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
            Some(fetched) => Lookup::Hit(of_git(&fetched, git)?),
            None => Lookup::Miss(Ticket::CheckOut(commit)),
        })
    }

    pub(super) fn check_out(&self, work: &Work<'_, Output>, git: &Git, commit: &Commit) -> Result<Output, Error> {
        let opened = self.keyring().git(git)?;
        of_git(&self.remotes.check_out(git, commit, opened.access(), &work.cancel)?, git)
    }
}

fn of_http(fetched: &Fetched) -> Result<Output, Error> {
    let identity = match &fetched.identity {
        Identity::File { digest, last_modified } => json!({ "digest": digest, "last_modified": last_modified }),
        Identity::Commit { commit, .. } => json!({ "commit": commit }),
    };
    of(fetched, identity)
}

/// The name by which a commit was found, and where, are nobody's business.
fn of_git(fetched: &Fetched, git: &Git) -> Result<Output, Error> {
    let commit = match &fetched.identity {
        Identity::Commit { commit, .. } => commit.clone(),
        Identity::File { digest, .. } => digest.to_string(),
    };
    let identity = json!({
        "commit": commit,
        "subdirectory": git.subdirectory,
        "keep_git_directory": git.keep_git_directory,
        "submodules": git.submodules,
        "commit_time": git.mtime == GitMtime::Commit,
    });
    of(fetched, identity)
}

fn of(fetched: &Fetched, identity: Value) -> Result<Output, Error> {
    let context = Context::open(&fetched.directory, Ignore::none(), None).map_err(super::file::Error::from)?;
    Ok(Output::Remote(Arc::new(Remote { context, identity })))
}
