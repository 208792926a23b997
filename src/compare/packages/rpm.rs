use std::io::Write;

use rusqlite::{Connection, OpenFlags};

use super::{Manager, Package, Unreadable, text};

/// Reads rpm's database in SQLite: each row of `Packages` is the header of a package.
pub(super) fn packages(bytes: &[u8]) -> Result<Vec<Package>, Unreadable> {
    let damaged = |error: rusqlite::Error| Unreadable::Damaged(error.to_string());
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(bytes)?;
    file.flush()?;
    // What an image has is all there is: no journal belongs to it, and none may be made.
    let path = format!("file:{}?immutable=1", file.path().display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(damaged)?;
    let mut query = connection.prepare("SELECT blob FROM Packages").map_err(damaged)?;
    let headers = query.query_map([], |row| row.get::<_, Vec<u8>>(0)).map_err(damaged)?;
    let mut found = Vec::new();
    for header in headers {
        let package = package(&header.map_err(damaged)?);
        let package = package.ok_or_else(|| Unreadable::Damaged("the header of a package".to_owned()))?;
        // The keys that signatures are held against are kept as packages, too.
        if package.name != "gpg-pubkey" {
            found.push(package);
        }
    }
    Ok(found)
}

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const ARCH: u32 = 1022;
/// Two counts, then so many entries of four numbers, then the data (RPM's "Package format", header structure).
const ENTRY_BYTES: usize = 16;

fn package(header: &[u8]) -> Option<Package> {
    let number = |at: usize| Some(u32::from_be_bytes(header.get(at..at.checked_add(4)?)?.try_into().ok()?));
    let (entries, data_bytes) = (number(0)? as usize, number(4)? as usize);
    let start = entries.checked_mul(ENTRY_BYTES)?.checked_add(8)?;
    let data = header.get(start..start.checked_add(data_bytes)?)?;
    let (mut name, mut version, mut release, mut epoch, mut arch) = (None, None, None, None, None);
    for entry in 0..entries {
        let at = 8 + entry * ENTRY_BYTES;
        let offset = number(at + 8)? as usize;
        let string = || data.get(offset..)?.split(|&byte| byte == 0).next().map(text);
        match number(at)? {
            NAME => name = string(),
            VERSION => version = string(),
            RELEASE => release = string(),
            ARCH => arch = string(),
            EPOCH => epoch = Some(u32::from_be_bytes(data.get(offset..offset.checked_add(4)?)?.try_into().ok()?)),
            _ => {}
        }
    }
    let epoch = epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default();
    // One package can be there for several architectures: `rpm -qa` has it at this place, too.
    let arch = arch.map(|arch| format!(".{arch}")).unwrap_or_default();
    let version = format!("{epoch}{}-{}{arch}", version?, release?);
    Some(Package { manager: Manager::Rpm, name: name?, version })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, epoch: Option<u32>) -> Vec<u8> {
        let mut data = Vec::new();
        let mut entries: Vec<[u32; 4]> = Vec::new();
        if let Some(epoch) = epoch {
            entries.push([EPOCH, 4, 0, 1]);
            data.extend(epoch.to_be_bytes());
        }
        for (tag, value) in [(NAME, name), (VERSION, "1.2"), (RELEASE, "3.fc39"), (ARCH, "x86_64")] {
            entries.push([tag, 6, data.len() as u32, 1]);
            data.extend(value.bytes().chain([0]));
        }
        let counts = [entries.len() as u32, data.len() as u32];
        let numbers = counts.into_iter().chain(entries.into_iter().flatten());
        numbers.flat_map(u32::to_be_bytes).chain(data).collect()
    }

    #[test]
    fn headers_are_read() {
        let told = |header: &[u8]| package(header).map(|each| format!("{} {}", each.name, each.version));
        assert_eq!(told(&header("bash", None)).as_deref(), Some("bash 1.2-3.fc39.x86_64"));
        assert_eq!(told(&header("bash", Some(1))).as_deref(), Some("bash 1:1.2-3.fc39.x86_64"));
        let whole = header("bash", Some(1));
        for end in 0..whole.len() {
            assert_eq!(told(&whole[..end]), None);
        }
        assert_eq!(told(&[0xff; 64]), None);
    }

    #[test]
    fn a_database_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let connection = Connection::open(file.path()).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.execute("CREATE TABLE Packages(hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)", []).unwrap();
        for name in ["bash", "gpg-pubkey"] {
            connection.execute("INSERT INTO Packages(blob) VALUES(?)", [header(name, None)]).unwrap();
        }
        drop(connection);
        let found = packages(&std::fs::read(file.path()).unwrap()).unwrap();
        assert_eq!(found.iter().map(|each| each.name.as_str()).collect::<Vec<_>>(), ["bash"]);
        assert!(matches!(packages(b"no database"), Err(Unreadable::Damaged(_))));
    }
}
