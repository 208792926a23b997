use std::collections::BTreeSet;
use std::fmt;

/// What a request must be allowed to do (distribution, "Token Scope"), the most important first, since some token
/// servers heed only that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Scopes(Vec<Scope>);

/// Actions on one resource: `repository:library/alpine:pull`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Scope {
    /// Its type and name.
    resource: String,
    actions: BTreeSet<String>,
}

impl Scopes {
    /// Allows to read `repository`.
    pub(super) fn pull(repository: &str) -> Scopes {
        Scopes::default().and(&format!("repository:{repository}:pull"))
    }

    /// Allows to read and write `repository`.
    pub(super) fn push(repository: &str) -> Scopes {
        Scopes::default().and(&format!("repository:{repository}:pull,push"))
    }

    /// Allows what `text` says as well: scopes separated by spaces. What is no scope is left out.
    pub(super) fn and(mut self, text: &str) -> Scopes {
        for scope in text.split_whitespace() {
            // A name may contain colons: it is whatever stands between the type and the actions.
            let Some((resource, actions)) = scope.rsplit_once(':') else { continue };
            let actions = actions.split(',').map(str::to_owned);
            match self.0.iter_mut().find(|known| known.resource == resource) {
                Some(known) => known.actions.extend(actions),
                None => self.0.push(Scope { resource: resource.to_owned(), actions: actions.collect() }),
            }
        }
        self
    }

    /// Allows to read `repository` as well.
    pub(super) fn and_pull(self, repository: &str) -> Scopes {
        self.and(&format!("repository:{repository}:pull"))
    }

    /// Returns each scope as it is written.
    pub(super) fn texts(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(Scope::to_string)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actions: Vec<&str> = self.actions.iter().map(String::as_str).collect();
        write!(f, "{}:{}", self.resource, actions.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_one_resource_become_one() {
        let scopes = Scopes::push("a/b").and_pull("c").and("repository:c:push registry:catalog:* repository:a/b:pull");
        let texts: Vec<String> = scopes.texts().collect();
        assert_eq!(texts, ["repository:a/b:pull,push", "repository:c:pull,push", "registry:catalog:*"]);
    }
}
