use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::nobody;
use crate::container::{self, CopyOptions, Place};
use crate::engine::{Engine, Error};
use crate::exec::Asker;
use crate::fs::Root;
use crate::sys::Cancel;

/// Where files are copied from or to.
pub enum CopyEnd<'a> {
    /// In a container.
    Container {
        /// Its name or id.
        name: String,
        /// From its root. A `/` at the end asks for a directory, and `/.` for what is in it.
        path: PathBuf,
    },
    /// On this machine; absolute, with an end as above.
    Here(PathBuf),
    /// A tar that is read.
    Read(&'a mut (dyn Read + Send)),
    /// A tar that is written.
    Write(&'a mut dyn Write),
}

impl Engine {
    /// Copies a file, or a directory with all in it, into a container or out of one, whether it runs or not.
    ///
    /// # Errors
    /// [`Error::CopyEnds`], those of the store, and of reading and writing files.
    pub fn copy(&self, from: CopyEnd<'_>, to: CopyEnd<'_>, options: CopyOptions, cancel: &Cancel) -> Result<(), Error> {
        match (from, to) {
            (CopyEnd::Container { name, path }, CopyEnd::Here(target)) => self.within(&name, path, cancel, |from| {
                let here = Root::open(Path::new("/")).map_err(container::Error::from)?;
                let to = Place { root: &here, path: target, is_container: false };
                container::copy(from, &to, options, cancel)
            }),
            (CopyEnd::Here(source), CopyEnd::Container { name, path }) => self.within(&name, path, cancel, |to| {
                let here = Root::open(Path::new("/")).map_err(container::Error::from)?;
                let from = Place { root: &here, path: source, is_container: false };
                container::copy(&from, to, options, cancel)
            }),
            (CopyEnd::Container { name, path }, CopyEnd::Write(out)) => {
                self.within(&name, path, cancel, |from| container::copy_out(from, out, options, cancel))
            }
            (CopyEnd::Read(tar), CopyEnd::Container { name, path }) => {
                self.within(&name, path, cancel, |to| container::copy_in(tar, to, cancel))
            }
            _ => Err(Error::CopyEnds),
        }
    }

    fn within(
        &self,
        name: &str,
        path: PathBuf,
        cancel: &Cancel,
        body: impl FnOnce(&Place<'_>) -> Result<(), container::Error>,
    ) -> Result<(), Error> {
        let (container, _held) = self.hold(name)?;
        let observer = nobody();
        let root = self.keeper(&[]).files(&container, Asker { step: None, observer: &observer, cancel })?;
        Ok(body(&Place { root: &root, path, is_container: true })?)
    }

    /// Writes all files of a container as a tar, whether it runs or not.
    ///
    /// # Errors
    /// Those of the store, and of reading and writing files.
    pub fn export_container(&self, name: &str, out: &mut dyn Write, cancel: &Cancel) -> Result<(), Error> {
        let container = self.store.find_container(name)?;
        let observer = nobody();
        Ok(self.keeper(&[]).export(&container, out, Asker { step: None, observer: &observer, cancel })?)
    }
}
