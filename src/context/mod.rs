//! The build context: the files that a build may see, and what they contain.
//!
//! A [`Context`] is a directory seen through its [`Ignore`] rules. It is never read as a whole: [`Context::list`] walks
//! the subtree that somebody asks for, in byte order and in parallel, and [`Context::digests`] hashes what the
//! [`DigestCache`] does not know by its [`StatKey`]. [`Context::walk`] tells people what is in it, and why. Owners and times of the host are in no digest; links are never
//! followed here, so that no path leaves the directory.

mod archive;
mod digest;
mod directory;
mod error;
mod ignore;
mod index;
mod nearest;
mod pattern;

pub use archive::{ARCHIVE_START_BYTES, Owners, is_archive, unpack};
pub use digest::{DigestCache, StatKey};
pub use directory::{Absence, Context, Digests, Entry, Fate, Kind, Listed, Listing, Tally, Walk};
pub use error::Error;
pub use ignore::{Ignore, Scope, Verdict};
pub use nearest::nearest;
#[doc(hidden)]
pub use pattern::RULES;
pub use pattern::{BadPattern, Glob, PathGlob, has_wildcards};
