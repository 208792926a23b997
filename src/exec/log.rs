use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How much of the beginning of what a step writes is kept, and how much of the end. Nobody reads more, and what a step
/// writes without end must not fill the disk.
const KEPT_BYTES: u64 = 16 << 20;

/// A step's log in the store. A log that cannot be written does not fail the step: the failure is kept for the end.
#[derive(Debug)]
pub(super) struct Log {
    file: BufWriter<File>,
    /// Where what does not fit is kept meanwhile.
    directory: PathBuf,
    kept_bytes: u64,
    /// How much of the beginning there is still room for.
    room: u64,
    end: Option<End>,
    failure: Option<io::Error>,
}

impl Log {
    /// Begins the log at `path`.
    pub(super) fn create(path: &Path) -> io::Result<Log> {
        Log::keeping(KEPT_BYTES, path)
    }

    fn keeping(kept_bytes: u64, path: &Path) -> io::Result<Log> {
        let file = BufWriter::new(File::create(path)?);
        let directory = path.parent().unwrap_or(Path::new(".")).to_owned();
        Ok(Log { file, directory, kept_bytes, room: kept_bytes, end: None, failure: None })
    }

    /// Takes bytes as they come.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        if self.failure.is_none() {
            self.failure = self.try_write(bytes).err();
        }
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fits = bytes.len().min(usize::try_from(self.room).unwrap_or(usize::MAX));
        let (first, rest) = bytes.split_at(fits);
        self.file.write_all(first)?;
        self.room -= first.len() as u64;
        if rest.is_empty() {
            return Ok(());
        }
        if self.end.is_none() {
            // What is written is there to read before the step ends.
            self.file.flush()?;
            self.end = Some(End { file: tempfile::tempfile_in(&self.directory)?, size: self.kept_bytes, total: 0 });
        }
        self.end.as_mut().map_or(Ok(()), |end| end.write(rest))
    }

    /// Writes what is held back, and says what could not be written.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if let Some(mut end) = self.end {
            if let Some(left_out) = end.total.checked_sub(end.size).filter(|left_out| *left_out > 0) {
                write!(self.file, "\n[{left_out} bytes are left out here]\n")?;
            }
            self.file.flush()?;
            end.copy_to(self.file.get_mut())?;
        }
        self.file.flush()
    }
}

/// The last bytes of what came, in a file that has no name.
#[derive(Debug)]
struct End {
    file: File,
    /// What the file may have; older bytes give way.
    size: u64,
    total: u64,
}

impl End {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let at = self.total % self.size;
            let fits = bytes.len().min(usize::try_from(self.size - at).unwrap_or(usize::MAX));
            self.file.write_all_at(&bytes[..fits], at)?;
            self.total += fits as u64;
            bytes = &bytes[fits..];
        }
        Ok(())
    }

    fn copy_to(&mut self, out: &mut File) -> io::Result<()> {
        let oldest = if self.total > self.size { self.total % self.size } else { 0 };
        self.file.seek(SeekFrom::Start(oldest))?;
        io::copy(&mut self.file, out)?;
        self.file.seek(SeekFrom::Start(0))?;
        io::copy(&mut io::Read::take(&mut self.file, oldest), out).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_keeps_both_its_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let text: Vec<u8> = (0..100).collect();
        for length in 0..text.len() {
            for piece in [1, 3, 7, 40] {
                let mut log = Log::keeping(10, &path).unwrap();
                text[..length].chunks(piece).for_each(|chunk| log.write(chunk));
                log.finish().unwrap();
                let expected = match length.checked_sub(20) {
                    None | Some(0) => text[..length].to_vec(),
                    Some(left_out) => {
                        let word = format!("\n[{left_out} bytes are left out here]\n");
                        [&text[..10], word.as_bytes(), &text[length - 10..length]].concat()
                    }
                };
                assert_eq!(std::fs::read(&path).unwrap(), expected, "{length} bytes by {piece}");
            }
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_is_told_at_the_end() {
        let Ok(mut log) = Log::create(Path::new("/dev/full")) else { return };
        log.write(&[0; 100_000]);
        log.write(b"more");
        assert_eq!(log.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
