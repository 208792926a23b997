use std::fs::File;
use std::io::{self, BufWriter, Write};

use super::build::{Built, Job};
use super::{Error, Output, OutputKind, file_error};
use crate::exec::{Asker, tree};
use crate::image::{self, Saved};
use crate::solve::Event;

impl Job<'_> {
    /// Gives the result to one output.
    pub(super) fn export(&self, built: &Built, output: &Output) -> Result<(), Error> {
        let observer = self.observer();
        let asker = Asker { step: None, observer: &observer, cancel: self.cancel };
        let place = output.destination.as_ref().map_or_else(|| "stdout".to_owned(), |path| path.display().to_string());
        let what = format!("exporting to {place}");
        observer.observe(Event::Phase { what: what.clone(), result: None });
        match output.kind {
            OutputKind::Image | OutputKind::Registry => return Ok(()),
            OutputKind::Local => {
                let directory = output.destination.as_deref().unwrap_or_else(|| std::path::Path::new("."));
                tree::copy_to(&built.library, &built.stack, directory, built.epoch, asker)?;
            }
            OutputKind::Tar => {
                write(output, |out| Ok(tree::write_tar(&built.library, &built.stack, out, built.epoch, asker)?))?;
            }
            OutputKind::Docker | OutputKind::Oci => {
                let mut names = self.options.tags.clone();
                names.extend(output.name.clone());
                let image = match output.kind {
                    // What BuildKit writes into an OCI archive is compressed, and so are its consumers' expectations.
                    OutputKind::Oci => self.engine.compressed(&built.image, self.cancel)?,
                    _ => built.image.clone(),
                };
                let saved = [Saved { names, manifest: image.manifest().clone(), config: image.config().clone() }];
                write(output, |out| match output.kind {
                    OutputKind::Oci => Ok(image::save_oci(&self.engine.store, &saved, out, self.cancel)?),
                    _ => Ok(image::save_docker(&self.engine.store, &saved, out, self.cancel)?),
                })?;
            }
        }
        observer.observe(Event::Phase { what, result: Some(place) });
        Ok(())
    }
}

/// Opens the place of an output, has `body` write it, and leaves no half of it behind.
fn write(output: &Output, body: impl FnOnce(&mut dyn Write) -> Result<(), Error>) -> Result<(), Error> {
    let Some(path) = &output.destination else {
        let mut stdout = BufWriter::new(io::stdout().lock());
        body(&mut stdout)?;
        return stdout.flush().map_err(Error::Archive);
    };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(directory) = directory {
        std::fs::create_dir_all(directory).map_err(file_error("create", directory))?;
    }
    let failed = file_error("write", path);
    let new = tempfile::Builder::new()
        .prefix(".kiln-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(directory.unwrap_or_else(|| std::path::Path::new(".")))
        .map_err(&failed)?;
    let mut out = BufWriter::new(new.as_file());
    body(&mut out)?;
    out.flush().map_err(&failed)?;
    drop(out);
    let _: File = new.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
