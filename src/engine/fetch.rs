use std::fs::File;
use std::path::Path;

use super::policy::Policy;
use super::reproducible::newest;
use super::{BuildOptions, Error, file_error};
use crate::context;
use crate::exec::{self, Agents, Keyring, Secrets};
use crate::graph::{Git, Http, Source};
use crate::remote::{Fetched, Remotes};
use crate::store::Store;
use crate::sys::Cancel;

/// Fetches what is needed before there is a plan, or what the policy puts in its place.
pub(super) struct Fetch<'a> {
    pub(super) options: &'a BuildOptions,
    policy: &'a Policy,
    pub(super) store: &'a Store,
    pub(super) cancel: &'a Cancel,
    remotes: Remotes,
    secrets: Secrets,
    agents: Agents,
}

impl<'a> Fetch<'a> {
    pub(super) fn new(
        options: &'a BuildOptions,
        policy: &'a Policy,
        store: &'a Store,
        cancel: &'a Cancel,
    ) -> Fetch<'a> {
        let (secrets, agents) = (Secrets::new(options.secrets.clone()), Agents::new(options.agents.clone()));
        Fetch { options, policy, store, cancel, remotes: Remotes::new(store), secrets, agents }
    }

    fn keyring(&self) -> Keyring<'_> {
        Keyring { secrets: &self.secrets, agents: &self.agents }
    }

    pub(super) fn git(&self, git: &Git) -> Result<Fetched, Error> {
        let git = self.policy.git(git)?;
        let opened = self.keyring().git(&git)?;
        let commit = self.remotes.resolve(&git, opened.access(), self.cancel)?;
        Ok(match self.remotes.checked_out(&git, &commit)? {
            Some(fetched) => fetched,
            None => self.remotes.check_out(&git, &commit, opened.access(), self.cancel)?,
        })
    }

    pub(super) fn http(&self, http: &Http) -> Result<Fetched, Error> {
        let http = &self.policy.http(http)?;
        let authorization = self.keyring().http(http).map_err(exec::Error::from)?;
        Ok(match self.remotes.known(http, authorization.as_ref(), self.cancel)? {
            Some(fetched) => fetched,
            None => self.remotes.download(http, authorization.as_ref(), &|_, _| {}, self.cancel)?,
        })
    }

    /// Returns when a source was made, in seconds: a commit, or a file as its server has it, or else the newest file in it.
    pub(super) fn time(&self, source: &Source) -> Result<Option<i64>, Error> {
        let fetched = match source {
            Source::Git(git) => self.git(git)?,
            Source::Http(http) => self.http(http)?,
            Source::Image(_) | Source::Local(_) => return Ok(None),
        };
        match (fetched.identity.time(), source) {
            (None, Source::Http(http)) => self.newest(&fetched.directory.join(&http.name)),
            (time, _) => Ok(time),
        }
    }

    /// Returns when the newest file in an archive was changed; nothing of what is none.
    fn newest(&self, archive: &Path) -> Result<Option<i64>, Error> {
        let temporary = self.store.temporary()?;
        let file = File::open(archive).map_err(file_error("open", archive))?;
        let unpacked = context::unpack(file, temporary.path(), self.cancel);
        self.cancel.check()?;
        Ok(unpacked.ok().and_then(|_| newest(temporary.path())))
    }
}
