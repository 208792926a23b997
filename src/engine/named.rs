use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::dockerfile::ignore;
use super::layout::Layout;
use super::policy::Policy;
use super::{Error, NamedSource};
use crate::context::{Context, DigestCache};
use crate::exec::StatCache;
use crate::frontend::{NamedContext, NamedContexts, ResolveImage, ResolvedImage, Unresolved};
use crate::graph::{Local, Source};
use crate::oci::{Platform, Reference};
use crate::store::Store;
use crate::sys::Cancel;

/// What `--build-context` names, ready for a build.
#[derive(Default)]
pub(super) struct Named {
    /// For planning.
    pub(super) names: NamedContexts,
    directories: Vec<(String, Context)>,
    caches: Vec<Arc<StatCache>>,
    layouts: BTreeMap<Reference, Layout>,
}

impl Named {
    /// Opens directories and layouts; what is elsewhere is fetched when somebody reads it.
    pub(super) fn prepare(sources: &BTreeMap<String, NamedSource>, store: &Store) -> Result<Named, Error> {
        let mut named = Named::default();
        for (name, source) in sources {
            let context = named.context(name, source, store)?;
            let invalid = |source| Error::ContextName { name: name.clone(), source };
            named.names.insert(name, context).map_err(invalid)?;
        }
        Ok(named)
    }

    fn context(&mut self, name: &str, source: &NamedSource, store: &Store) -> Result<NamedContext, Error> {
        Ok(match source {
            NamedSource::Image(reference) => NamedContext::Image(reference.clone()),
            NamedSource::Http(http) => NamedContext::Files(Source::Http(http.clone())),
            NamedSource::Git(git) => NamedContext::Files(Source::Git(git.clone())),
            NamedSource::Directory(path) => {
                // No name of a context has a space, so this is nobody else's.
                let place = format!("context {name}");
                let directory = self.open(path, store)?;
                self.directories.push((place.clone(), directory));
                NamedContext::Files(Source::Local(Local { name: place }))
            }
            NamedSource::Layout { path, tag, digest } => {
                let layout = Layout::open(path, tag.as_deref(), *digest)?;
                let name = name.split("::").next().unwrap_or(name);
                let invalid = |source| Error::ContextName { name: name.to_owned(), source };
                let reference = name.parse::<Reference>().map_err(invalid)?.with_digest(layout.digest());
                self.layouts.insert(reference.clone(), layout);
                NamedContext::Image(reference)
            }
        })
    }

    fn open(&mut self, path: &Path, store: &Store) -> Result<Context, Error> {
        if !path.is_dir() {
            return Err(Error::NoContext { path: path.to_owned() });
        }
        let cache = Arc::new(StatCache::new(store, path));
        self.caches.push(cache.clone());
        // Its own rules, which are not the build file's (section 8.2).
        Ok(Context::open(path, ignore(path, None)?, Some(cache as Arc<dyn DigestCache>))?)
    }

    /// Returns the directories by the names the plan gives them.
    pub(super) fn take_directories(&mut self, cancel: &Cancel) -> HashMap<String, Arc<Context>> {
        let taken = std::mem::take(&mut self.directories);
        taken.into_iter().map(|(name, context)| (name, Arc::new(context.cancelled_by(cancel.clone())))).collect()
    }

    /// Keeps what reading the directories told.
    pub(super) fn save(&self) -> Result<(), Error> {
        self.caches.iter().try_for_each(|cache| Ok(cache.save()?))
    }
}

/// Finds images in layouts first, and then wherever `others` finds them.
pub(super) struct Resolving<'a> {
    pub(super) named: &'a Named,
    pub(super) others: &'a dyn ResolveImage,
    pub(super) policy: &'a Policy,
    pub(super) store: &'a Store,
    pub(super) cancel: &'a Cancel,
}

impl ResolveImage for Resolving<'_> {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, Unresolved> {
        let Some(layout) = self.named.layouts.get(reference) else { return self.others.resolve(reference, platform) };
        self.policy.layout(reference).map_err(|error| Unresolved::denied(error.to_string()))?;
        match layout.take(reference, platform, self.store, self.cancel) {
            Ok(image) => Ok(super::build::resolved(reference, &image)),
            Err(error) => Err(Unresolved::not_found(super::record::with_causes(&error))),
        }
    }

    fn admit(&self, source: Source) -> Result<Source, Unresolved> {
        self.others.admit(source)
    }
}
