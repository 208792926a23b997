use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use super::{Containers, Error};
use crate::exec::{Asker, Stack};
use crate::layer::{self, EntryPath, Finished, Writer};
use crate::store::ContainerRecord;
use crate::sys::Cancel;

impl Containers {
    /// Returns the layers a container stands on, and the layer that its changes would be; what is in it is read for that,
    /// and written nowhere.
    ///
    /// # Errors
    /// Those of reading layers and files.
    pub fn changes(&self, container: &ContainerRecord, asker: Asker<'_>) -> Result<(Stack, Finished), Error> {
        let stack = self.stack(container)?;
        let mut writer = Writer::new(asker.cancel.guard(io::sink()));
        self.write_changes(container, &stack, &mut writer, asker)?;
        let (_, finished) = writer.finish()?;
        Ok((stack, finished))
    }

    /// Writes what a container has changed of the layers it stands on, without what its start has put there.
    pub(super) fn write_changes<W: Write>(
        &self,
        container: &ContainerRecord,
        stack: &Stack,
        writer: &mut Writer<W>,
        asker: Asker<'_>,
    ) -> Result<(), Error> {
        let (upper, kind) = self.library.changes(&self.tree(container)?)?;
        let before = self.library.view(stack, asker)?;
        let written = layer::diff_but(&upper, kind, &before, &stubs(container), writer);
        stopped(asker.cancel)?;
        Ok(written?)
    }
}

/// Returns what the start of a container's process has put among its changes, and its end has not removed: while it runs, or
/// because its kiln was killed.
pub(super) fn stubs(container: &ContainerRecord) -> BTreeSet<EntryPath> {
    container.stubs.iter().map(|stub| stub.as_os_str().as_bytes().to_vec()).collect()
}

/// Says that something was stopped, where a writer can say so only in the shape of an I/O error.
pub(super) fn stopped(cancel: &Cancel) -> Result<(), Error> {
    cancel.check().map_err(|cancelled| Error::Runtime(cancelled.into()))
}
