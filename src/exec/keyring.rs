use super::Error;
use super::agent::{Agents, Forwarder};
use super::secret::{SecretError, Secrets};
use crate::graph::{Git, Http, Ownership};
use crate::remote::{Access, Authorization, Key};

/// The agent that opens repositories (semantics reference, section 9.9).
const AGENT: &str = "default";

/// What a build has that opens sources elsewhere: secrets of certain names, and an ssh agent.
#[derive(Debug, Clone, Copy)]
pub struct Keyring<'a> {
    /// Of the build.
    pub secrets: &'a Secrets,
    /// Of the build.
    pub agents: &'a Agents,
}

/// What opens a repository, for as long as this is kept.
#[derive(Debug)]
pub struct Opened {
    access: Access,
    _forwarder: Option<Forwarder>,
}

impl Opened {
    /// Returns what to show.
    pub fn access(&self) -> &Access {
        &self.access
    }
}

impl Keyring<'_> {
    /// Returns what opens a file; none where the build has nothing for its host.
    ///
    /// # Errors
    /// Those of secrets.
    pub fn http(&self, http: &Http) -> Result<Option<Authorization>, SecretError> {
        self.authorization(&Key::of_http(http))
    }

    /// Returns what opens a repository.
    ///
    /// # Errors
    /// Those of secrets and agents.
    pub fn git(&self, git: &Git) -> Result<Opened, Error> {
        let authorization = self.authorization(&Key::of_git(git))?;
        let forwarder = if git.is_over_ssh() {
            self.agents.forward(AGENT, false, Ownership { mode: 0o600, uid: 0, gid: 0 })?
        } else {
            None
        };
        let agent = forwarder.as_ref().map(Forwarder::socket);
        Ok(Opened { access: Access { authorization, agent }, _forwarder: forwarder })
    }

    fn authorization(&self, keys: &[Key]) -> Result<Option<Authorization>, SecretError> {
        for key in keys {
            let Some(value) = self.secrets.get(key.id())? else { continue };
            let said = key.authorization(&value);
            return said.map(Some).ok_or_else(|| SecretError::NoHeader { id: key.id().to_owned() });
        }
        Ok(None)
    }
}
