use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

use crate::runtime::error::UserError;

/// Who a program runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// All groups, `gid` first.
    pub(super) groups: Vec<u32>,
    /// Home directory as the root's user database has it, else `/`.
    pub(super) home: String,
}

impl User {
    /// Finds out who `text` (`user[:group]`) is in the root, which is `/` already.
    pub(super) fn resolve(text: &str) -> Result<User, UserError> {
        lookup(text, &read("/etc/passwd"), &read("/etc/group"))
    }
}

/// Reads a database of the root. One that is missing, no plain file, or absurdly big counts as empty.
fn read(path: &str) -> String {
    const MAX_BYTES: u64 = 64 << 20;
    // NONBLOCK, because the file may be a pipe in a hostile image.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(fd) = rustix::fs::openat2(CWD, Path::new(path), flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) else {
        return String::new();
    };
    let Ok(stat) = rustix::fs::fstat(&fd) else { return String::new() };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return String::new();
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::from(fd);
    match std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_BYTES), &mut bytes) {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    }
}

/// An entry of passwd(5).
struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let (uid, gid) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
        Some(Account { name: fields[0], uid, gid, home: fields.get(5).copied().unwrap_or("") })
    })
}

/// Entries of group(5): name, number and members.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, Vec<&str>)> {
    group.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let members = fields.get(3).map(|members| members.split(',').collect()).unwrap_or_default();
        Some((fields[0], fields.get(2)?.parse().ok()?, members))
    })
}

/// Digits are always a number, even where a user is called so; a number need not be listed. An explicit group replaces
/// the listed ones.
fn lookup(text: &str, passwd: &str, group: &str) -> Result<User, UserError> {
    let (name, group_name) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let number = if name.is_empty() { Some(0) } else { number(name)? };
    let account = accounts(passwd).find(|account| number.map_or(account.name == name, |uid| account.uid == uid));
    let (uid, listed_gid) = match (&account, number) {
        (Some(account), _) => (account.uid, account.gid),
        (None, Some(uid)) => (uid, 0),
        (None, None) => return Err(UserError::NoUser(name.to_owned())),
    };
    let home = account.as_ref().map(|account| account.home).filter(|home| !home.is_empty()).unwrap_or("/").to_owned();
    let gid = group_name.map_or(Ok(listed_gid), |name| gid_of(name, group))?;
    let mut all = vec![gid];
    if let (None, Some(account)) = (group_name, &account) {
        let more = groups(group).filter(|(_, _, members)| members.contains(&account.name)).map(|(_, gid, _)| gid);
        all.extend(more.filter(|more| *more != gid));
    }
    Ok(User { uid, gid, groups: all, home })
}

fn gid_of(name: &str, group: &str) -> Result<u32, UserError> {
    if let Some(gid) = number(name)? {
        return Ok(gid);
    }
    let listed = groups(group).find(|(listed, _, _)| *listed == name);
    listed.map(|(_, gid, _)| gid).ok_or_else(|| UserError::NoGroup(name.to_owned()))
}

/// Reads a user or group number; none when it is no number.
fn number(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    // The kernel keeps the highest number for "no change".
    match text.parse() {
        Ok(number) if number < u32::MAX => Ok(Some(number)),
        _ => Err(UserError::OutOfRange(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:1000:1001::/home/app:/bin/sh\n77:x:5:6::/seven:\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,app\napp:x:1001:\nvideo:x:44:app\nbroken:x\n";

    #[test]
    fn users_are_found_as_buildkit_finds_them() {
        let cases: [(&str, u32, u32, &[u32], &str); 9] = [
            ("", 0, 0, &[0, 10], "/root"),
            ("root", 0, 0, &[0, 10], "/root"),
            ("app", 1000, 1001, &[1001, 10, 44], "/home/app"),
            ("1000", 1000, 1001, &[1001, 10, 44], "/home/app"),
            ("app:wheel", 1000, 10, &[10], "/home/app"),
            ("1000:7", 1000, 7, &[7], "/home/app"),
            ("4000", 4000, 0, &[0], "/"),
            ("4000:4001", 4000, 4001, &[4001], "/"),
            ("77", 77, 0, &[0], "/"),
        ];
        for (text, uid, gid, groups, home) in cases {
            let expected = User { uid, gid, groups: groups.to_vec(), home: home.to_owned() };
            assert_eq!(lookup(text, PASSWD, GROUP), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn unknown_users_and_groups_are_errors() {
        assert_eq!(lookup("eve", PASSWD, GROUP), Err(UserError::NoUser("eve".into())));
        assert_eq!(lookup("root", "", ""), Err(UserError::NoUser("root".into())));
        assert_eq!(lookup("app:eve", PASSWD, GROUP), Err(UserError::NoGroup("eve".into())));
        assert_eq!(lookup("4294967295", PASSWD, GROUP), Err(UserError::OutOfRange("4294967295".into())));
        assert_eq!(lookup("", "", "").map(|user| user.home), Ok("/".to_owned()));
    }
}
