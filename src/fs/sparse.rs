use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs as sys;
use rustix::io::Errno;

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

/// Reads a file from its start. Holes read as zeros, as they are, but the kernel is not asked for them: it would fill its
/// cache with pages of zeros in the place of something useful.
#[derive(Debug)]
pub struct SparseReader {
    file: File,
    position: u64,
    /// Whether the file has less room on disk than it has bytes; unknown until that matters.
    has_holes: Option<bool>,
    /// What is known to follow.
    ahead: Ahead,
}

/// A stretch of a file by its end.
#[derive(Debug, Clone, Copy)]
enum Ahead {
    Data(u64),
    Hole(u64),
}

/// The unit of `st_blocks`, whatever the file system's own is (stat(2)).
const STAT_BLOCK_BYTES: u64 = 512;

/// A file up to this size is read sooner than its holes are found.
const ASKED_BEHIND_BYTES: u64 = 1 << 20;

impl SparseReader {
    /// Reads all of a file.
    pub fn new(file: File) -> SparseReader {
        SparseReader { file, position: 0, has_holes: None, ahead: Ahead::Data(ASKED_BEHIND_BYTES) }
    }

    /// Returns the file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Finds out what is at the position. At the end of the file that is data, of which there is none.
    fn look_ahead(&mut self) -> io::Result<Ahead> {
        let (Ahead::Data(end) | Ahead::Hole(end)) = self.ahead;
        if self.position >= end {
            self.ahead = if self.has_holes()? { self.seek()? } else { Ahead::Data(u64::MAX) };
        }
        Ok(self.ahead)
    }

    fn has_holes(&mut self) -> io::Result<bool> {
        if self.has_holes.is_none() {
            let metadata = self.file.metadata()?;
            self.has_holes = Some(metadata.blocks().saturating_mul(STAT_BLOCK_BYTES) < metadata.len());
        }
        Ok(self.has_holes == Some(true))
    }

    fn seek(&self) -> io::Result<Ahead> {
        match sys::seek(&self.file, sys::SeekFrom::Data(self.position)) {
            Ok(data) if data > self.position => Ok(Ahead::Hole(data)),
            Ok(data) => Ok(Ahead::Data(sys::seek(&self.file, sys::SeekFrom::Hole(data))?)),
            // Nothing follows but a hole, or the end.
            Err(Errno::NXIO) => match self.file.metadata()?.len() {
                end if end > self.position => Ok(Ahead::Hole(end)),
                _ => Ok(Ahead::Data(u64::MAX)),
            },
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Read for SparseReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let position = self.position;
        let most = |end: u64| buffer.len().min(usize::try_from(end - position).unwrap_or(usize::MAX));
        let got = match self.look_ahead()? {
            Ahead::Hole(end) => {
                let length = most(end);
                buffer[..length].fill(0);
                length
            }
            Ahead::Data(end) => {
                let length = most(end);
                self.file.read_at(&mut buffer[..length], position)?
            }
        };
        self.position += got as u64;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a file of these stretches: where each begins, and its bytes.
    fn file(length: u64, data: &[(u64, &[u8])]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(length).unwrap();
        data.iter().for_each(|(offset, bytes)| file.write_all_at(bytes, *offset).unwrap());
        file
    }

    #[test]
    fn holes_read_as_zeros_and_everything_else_as_it_is() {
        let (mib, page) = (1 << 20, vec![7; 4096]);
        for (length, data) in [
            (0, vec![]),
            (5, vec![(0, &b"small"[..])]),
            (3 * mib, vec![]),
            (3 * mib, vec![(0, &page)]),
            (3 * mib, vec![(mib, &page), (2 * mib, &page)]),
            (3 * mib + 4096, vec![(3 * mib, &page)]),
            (3 * mib, vec![(mib - 1, b"ab")]),
        ] {
            let mut expected = Vec::new();
            let mut plain = file(length, &data);
            plain.rewind().unwrap();
            plain.read_to_end(&mut expected).unwrap();
            let mut read = Vec::new();
            SparseReader::new(plain).read_to_end(&mut read).unwrap();
            assert!(read == expected, "{length} {}", data.len());
        }
    }

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
