use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::build::{Built, Job};
use super::compress::Wanted;
use super::{Error, Output, OutputKind, file_error};
use crate::exec::{Asker, Stack, tree};
use crate::image::{self, Image, Saved};
use crate::oci::Reference;
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
                let directory = output.destination.as_deref().unwrap_or_else(|| Path::new("."));
                for (name, stack) in directories(built) {
                    tree::copy_to(&built.library, stack, &directory.join(name), built.epoch, asker)?;
                }
            }
            OutputKind::Tar => {
                write(output, |out| {
                    Ok(tree::write_tar(&built.library, &directories(built), out, built.epoch, asker)?)
                })?;
            }
            OutputKind::Docker | OutputKind::Oci => {
                let mut names = self.options.tags.clone();
                names.extend(output.name.clone());
                let images = self.packed_for(output, &built.images)?;
                let saved = saved(names, images, built.index.is_some());
                write(output, |out| {
                    let save = if output.kind == OutputKind::Oci { image::save_oci } else { image::save_docker };
                    Ok(save(&self.engine.store, &[saved], out, self.cancel)?)
                })?;
            }
        }
        observer.observe(Event::Phase { what, result: Some(place) });
        Ok(())
    }

    /// Returns images as they go into an archive.
    fn packed_for(&self, output: &Output, images: &[Image]) -> Result<Vec<Image>, Error> {
        let observer = self.observer();
        let packer = self.engine.packer(&observer, self.cancel);
        match (output.kind, output.packing) {
            // What BuildKit writes into an OCI archive is compressed, and so are its consumers' expectations.
            (OutputKind::Oci, packing) => packer.images(images, Wanted::asked(packing)),
            (_, Some(packing)) => packer.images(&packer.images(images, Wanted::As(packing))?, Wanted::ForDocker),
            (_, None) => packer.images(images, Wanted::ForDocker),
        }
    }
}

/// Returns the trees of a result with the directories they are written into: where there is an index, one for each
/// platform.
fn directories(built: &Built) -> Vec<(String, &Stack)> {
    let name = |image: &Image| match built.index {
        Some(_) => image.config().value().platform().to_string().replace('/', "_"),
        None => String::new(),
    };
    built.images.iter().map(name).zip(&built.stacks).collect()
}

fn saved(names: Vec<Reference>, images: Vec<Image>, is_index: bool) -> Saved {
    if is_index { Saved::index(names, image::index(&images), images) } else { images[0].saved(names) }
}

/// Opens the place of an output, has `body` write it, and leaves no half of it behind.
fn write(output: &Output, body: impl FnOnce(&mut dyn Write) -> Result<(), Error>) -> Result<(), Error> {
    let Some(path) = &output.destination else {
        let mut stdout = BufWriter::new(io::stdout().lock());
        body(&mut stdout)?;
        return stdout.flush().map_err(Error::Archive);
    };
    write_file(path, body)
}

/// Makes a file that is there when it is whole.
pub(super) fn write_file(path: &Path, body: impl FnOnce(&mut dyn Write) -> Result<(), Error>) -> Result<(), Error> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(directory) = directory {
        std::fs::create_dir_all(directory).map_err(file_error("create", directory))?;
    }
    let failed = file_error("write", path);
    let new = tempfile::Builder::new()
        .prefix(".kiln-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(directory.unwrap_or_else(|| Path::new(".")))
        .map_err(&failed)?;
    let mut out = BufWriter::new(new.as_file());
    body(&mut out)?;
    out.flush().map_err(&failed)?;
    drop(out);
    let _: File = new.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
