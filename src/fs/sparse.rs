use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// How long a run of zeros must be to become a hole.
const HOLE_BYTES: usize = 128 << 10;

/// Writes a new file from its start and leaves out the pages of long runs of zeros, which need no room and cost none to
/// skip. The file is whole once [`SparseWriter::finish`] has given it its length.
#[derive(Debug)]
pub struct SparseWriter {
    file: File,
    ends_in_hole: bool,
}

impl SparseWriter {
    /// Writes to an empty file.
    pub fn new(file: File) -> SparseWriter {
        SparseWriter { file, ends_in_hole: false }
    }

    /// Gives the file its length, and returns it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn finish(mut self) -> io::Result<File> {
        if self.ends_in_hole {
            let length = self.file.stream_position()?;
            self.file.set_len(length)?;
        }
        Ok(self.file)
    }
}

impl Write for SparseWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let run = &bytes[..bytes.len().min(HOLE_BYTES)];
        let is_hole = run.len() == HOLE_BYTES && run.iter().all(|&byte| byte == 0);
        let taken = match is_hole {
            true => self.file.seek(SeekFrom::Current(HOLE_BYTES as i64)).map(|_| HOLE_BYTES)?,
            false => self.file.write(run)?,
        };
        self.ends_in_hole = is_hole;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn long_runs_of_zeros_take_no_room_and_read_back() {
        let zeros = vec![0; 4 * HOLE_BYTES];
        for (parts, most_blocks) in [
            (vec![&zeros[..]], 0),
            (vec![b"head", &zeros, b"tail"], 1024),
            (vec![b"head", &zeros], 1024),
            (vec![&zeros[..HOLE_BYTES - 1]], 1024),
            (vec![b"x"], 1024),
            (vec![], 0),
        ] {
            let mut file = SparseWriter::new(tempfile::tempfile().unwrap());
            for part in &parts {
                file.write_all(part).unwrap();
            }
            let mut file = file.finish().unwrap();
            file.rewind().unwrap();
            let mut read = Vec::new();
            io::Read::read_to_end(&mut file, &mut read).unwrap();
            assert!(read == parts.concat(), "{} bytes", read.len());
            let blocks = file.metadata().unwrap().blocks();
            assert!(blocks <= most_blocks, "{blocks} blocks for {} bytes", read.len());
        }
    }
}
