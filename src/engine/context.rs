use super::contexts::MainContext;
use super::{BuildOptions, Engine, Error, dockerfile};
use crate::context::{Context, Ignore, Kind, Listing, Walk};
use crate::sys::Cancel;

/// The files of a build, to be listed. What had to be fetched or unpacked for it goes with it.
pub struct ContextListing {
    context: Context,
    files: MainContext,
}

impl Engine {
    /// Returns the context of a build, of which `options` name the source, the build file and the arguments; the build
    /// file need not be there unless they name it, and is not read.
    ///
    /// # Errors
    /// What forbids to fetch or open the context, and what is wrong in its ignore file.
    pub fn context(&self, options: &BuildOptions, cancel: &Cancel) -> Result<ContextListing, Error> {
        listing(options, MainContext::prepare(options, &self.store, cancel)?, cancel)
    }
}

/// Returns the context of a build without a store: it must be a directory.
///
/// # Errors
/// Those of [`Engine::context`].
pub fn context(options: &BuildOptions, cancel: &Cancel) -> Result<ContextListing, Error> {
    listing(options, MainContext::local(&options.context)?, cancel)
}

fn listing(options: &BuildOptions, files: MainContext, cancel: &Cancel) -> Result<ContextListing, Error> {
    let ignore = if files.is_local { dockerfile::ignore_of(options.file.as_ref(), &files)? } else { Ignore::none() };
    let context = Context::open(files.directory(), ignore, None)?.cancelled_by(cancel.clone());
    Ok(ContextListing { context, files })
}

impl ContextListing {
    /// Tells whether ignore files count: they do for directories of this machine alone.
    pub fn has_rules(&self) -> bool {
        self.files.is_local
    }

    /// Tells whether what came is a build file, which has no files beside it.
    pub fn is_dockerfile(&self) -> bool {
        self.files.text.is_some()
    }

    /// Returns the rules.
    pub fn ignore(&self) -> &Ignore {
        self.context.ignore()
    }

    /// Walks the path `path` of the context and what is below it; `""` is everything.
    ///
    /// # Errors
    /// When it cannot be read, at once or on the way.
    pub fn walk(&self, path: &[u8], listing: Listing) -> Result<Walk<'_>, Error> {
        Ok(self.context.walk_from(path, listing)?)
    }

    /// Returns the path with the name most like that of a path that is not there.
    pub fn nearest(&self, path: &[u8]) -> Option<Vec<u8>> {
        self.context.nearest(path)
    }

    /// Returns the link on the way to a path, and what it says: COPY follows it, and no walk does.
    pub fn link_above(&self, path: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let slashes = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(slash, _)| slash);
        slashes.map(|slash| &path[..slash]).find_map(|above| match self.context.lookup(above).ok()??.kind {
            Kind::Symlink { target } => Some((above.to_vec(), target)),
            _ => None,
        })
    }
}
