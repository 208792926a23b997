use super::{Mode, Symbolic};

/// Why a text is not a mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// Digits that are not an octal number of twelve bits.
    #[error("invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777")]
    Octal(String),
    /// Not clauses as chmod(1) has them either.
    #[error("invalid chmod parameter: '{0}': invalid syntax")]
    Syntax(String),
}

const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const EXECUTE: u32 = 0o111;

impl Mode {
    /// Reads an octal mode, or clauses such as `u+x,go-w`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Mode, ModeError> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let octal = u32::from_str_radix(text, 8).ok().filter(|&mode| mode <= 0o7777);
            return octal.map(Mode::Octal).ok_or_else(|| ModeError::Octal(text.to_owned()));
        }
        clauses(text).ok_or_else(|| ModeError::Syntax(text.to_owned()))?;
        Ok(Mode::Symbolic(Symbolic(text.to_owned())))
    }

    /// Returns the mode of an entry that had `mode` before; the process's umask has no part in it.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Mode::Octal(octal) => *octal,
            Mode::Symbolic(Symbolic(text)) => {
                let changes = clauses(text).unwrap_or_default();
                changes.iter().fold(mode & 0o7777, |mode, change| change.apply(mode, is_directory))
            }
        }
    }
}

/// One operator of a clause with its permissions.
struct Change {
    /// Classes it is for, as a mask of their nine bits.
    who: u32,
    operator: u8,
    permissions: Permissions,
}

enum Permissions {
    /// Letters of `rwxXst`.
    Letters(Vec<u8>),
    /// Those that `u`, `g` or `o` has.
    Copied(u8),
}

fn clauses(text: &str) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    for text in text.split(',') {
        clause(text.as_bytes(), &mut changes)?;
    }
    Some(changes)
}

/// Reads `[ugoa]*` and at least one operator, each with letters or the class to copy from.
fn clause(text: &[u8], changes: &mut Vec<Change>) -> Option<()> {
    let length = text.iter().take_while(|byte| b"ugoa".contains(byte)).count();
    let (classes, mut rest) = text.split_at(length);
    let who = classes.iter().fold(0, |who, &class| who | bits_of(class));
    let who = if classes.is_empty() { 0o777 } else { who };
    while let [operator @ (b'+' | b'-' | b'='), after @ ..] = rest {
        let (permissions, after) = match after {
            [class @ (b'u' | b'g' | b'o'), after @ ..] => (Permissions::Copied(*class), after),
            _ => {
                let (letters, after) = after.split_at(after.iter().take_while(|byte| b"rwxXst".contains(byte)).count());
                (Permissions::Letters(letters.to_vec()), after)
            }
        };
        changes.push(Change { who, operator: *operator, permissions });
        rest = after;
        if rest.is_empty() {
            return Some(());
        }
    }
    None
}

fn bits_of(class: u8) -> u32 {
    match class {
        b'u' => 0o700,
        b'g' => 0o070,
        b'o' => 0o007,
        _ => 0o777,
    }
}

impl Change {
    fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let set = self.bits(mode, is_directory);
        match self.operator {
            b'+' => mode | set,
            b'-' => mode & !set,
            _ => mode & !self.cleared(is_directory) | set,
        }
    }

    /// Returns the bits that the permissions stand for.
    fn bits(&self, mode: u32, is_directory: bool) -> u32 {
        let letters = match &self.permissions {
            Permissions::Copied(class) => {
                let shift = |class| match class {
                    b'u' => 6,
                    b'g' => 3,
                    _ => 0,
                };
                let copied = (mode >> shift(*class)) & 0o7;
                return (copied * EXECUTE) & self.who;
            }
            Permissions::Letters(letters) => letters,
        };
        let executable = is_directory || mode & EXECUTE != 0;
        letters.iter().fold(0, |bits, letter| {
            bits | match letter {
                b'r' => 0o444 & self.who,
                b'w' => 0o222 & self.who,
                b'X' if !executable => 0,
                b'x' | b'X' => EXECUTE & self.who,
                b's' => self.special(),
                // The sticky bit belongs to no class, whichever is named.
                _ => STICKY,
            }
        })
    }

    /// Returns the bits beside the nine that belong to the classes.
    fn special(&self) -> u32 {
        let of = |class: u32, bit| if self.who & class != 0 { bit } else { 0 };
        of(0o700, SET_USER) | of(0o070, SET_GROUP)
    }

    /// Returns what `=` clears. As chmod(1) has it, a directory keeps its set-id bits unless they are named.
    fn cleared(&self, is_directory: bool) -> u32 {
        let names_set_id = matches!(&self.permissions, Permissions::Letters(letters) if letters.contains(&b's'));
        let kept = if is_directory && !names_set_id { SET_USER | SET_GROUP } else { 0 };
        (self.who | self.special()) & !kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_apply_as_chmod_does() {
        for (text, before, is_directory, expected) in [
            ("640", 0o755, false, 0o640),
            ("0640", 0o755, true, 0o640),
            ("4711", 0o644, false, 0o4711),
            ("0", 0o777, false, 0),
            ("7777", 0, true, 0o7777),
            ("u+x", 0o644, false, 0o744),
            ("+x", 0o644, false, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("go-rwx", 0o755, false, 0o700),
            ("ug=rw,o=", 0o777, false, 0o660),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("g=u", 0o740, false, 0o770),
            ("o=g", 0o750, false, 0o755),
            ("g+o,o-u", 0o604, false, 0o640),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, false, 0o2755),
            ("+s", 0o755, false, 0o6755),
            ("o+s", 0o755, false, 0o755),
            ("+t", 0o777, true, 0o1777),
            ("u+t", 0o777, true, 0o1777),
            ("a=rX,u+w", 0o1777, true, 0o1755),
            ("g=s", 0o1777, false, 0o3707),
            ("u=rwx", 0o6755, false, 0o2755),
            ("a=rx", 0o6755, false, 0o555),
            ("a=rx", 0o6755, true, 0o6555),
            ("u+r-w", 0o200, false, 0o400),
            ("+", 0o644, false, 0o644),
        ] {
            assert_eq!(Mode::parse(text).unwrap().apply(before, is_directory), expected, "{text} of {before:o}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in ["999", "8", "10000", "77777777777777777777"] {
            assert_eq!(Mode::parse(bad), Err(ModeError::Octal(bad.into())), "{bad}");
        }
        for bad in ["", "u", "x", "u+q", "u+x,", ",u+x", "u+gr", "+x755", "-1", "0o755", "u +x", "é+x"] {
            assert_eq!(Mode::parse(bad), Err(ModeError::Syntax(bad.into())), "{bad}");
        }
    }
}
