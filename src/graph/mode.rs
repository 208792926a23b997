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

/// Bits of the classes `u`, `g` and `o`; the set-id bits belong to the first two, the sticky bit to none.
const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHER: u32 = 0o0007;
const ALL: u32 = USER | GROUP | OTHER;
const STICKY: u32 = 0o1000;
const EXECUTE: u32 = 0o111;
/// Each class with the place of its three bits.
const CLASSES: [(u8, u32, u32); 3] = [(b'u', USER, 6), (b'g', GROUP, 3), (b'o', OTHER, 0)];

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
        changes(text).ok_or_else(|| ModeError::Syntax(text.to_owned()))?;
        Ok(Mode::Symbolic(Symbolic(text.to_owned())))
    }

    /// Returns the mode of an entry that had `mode` before; the process's umask has no part in it.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Mode::Octal(octal) => *octal,
            Mode::Symbolic(Symbolic(text)) => {
                let was_executable = is_directory || mode & EXECUTE != 0;
                let changes = changes(text).unwrap_or_default();
                changes.iter().fold(mode & 0o7777, |mode, change| change.apply(mode, was_executable))
            }
        }
    }
}

/// One thing to do to a mode.
enum Change {
    Set(u32),
    Clear(u32),
    /// Set, or clear, if the entry was a directory or executable before any change.
    IfExecutable {
        bits: u32,
        set: bool,
    },
    /// Do to the bits `to` what the operator says, with those that the class at `from` has.
    Copy {
        from: u32,
        to: u32,
        operator: u8,
    },
}

/// Reads clauses as BSD's setmode(3) does, which BuildKit follows. It differs from chmod(1) of GNU in this: `=` clears the
/// set-id bits of directories too, `X` looks at the mode before all changes, and a class to copy from may have more
/// letters around it.
fn changes(text: &str) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    for clause in text.split(',') {
        let clause = clause.as_bytes();
        let length = clause.iter().take_while(|byte| b"ugoa".contains(byte)).count();
        let (classes, mut rest) = clause.split_at(length);
        let mut who = classes.iter().fold(0, |who, class| who | bits_of(*class));
        if rest.is_empty() {
            return None;
        }
        while let [operator, after @ ..] = rest {
            rest = operation(*operator, after, &mut who, &mut changes)?;
        }
    }
    Some(changes)
}

fn bits_of(class: u8) -> u32 {
    CLASSES.iter().find(|known| known.0 == class).map_or(ALL, |known| known.1)
}

/// Reads one operator's letters. Returns what follows them.
fn operation<'a>(operator: u8, text: &'a [u8], who: &mut u32, changes: &mut Vec<Change>) -> Option<&'a [u8]> {
    if !b"+-=".contains(&operator) {
        return None;
    }
    *who &= !STICKY;
    let (mut bits, mut execute, mut is_assigned) = (0, 0, false);
    let length = text.iter().take_while(|letter| b"rwxXstugo".contains(letter)).count();
    let (letters, rest) = text.split_at(length);
    for letter in letters {
        let has_special = *who == 0 || *who & !OTHER != 0;
        match letter {
            b'r' => bits |= 0o444,
            b'w' => bits |= 0o222,
            b'x' => bits |= EXECUTE,
            b'X' => execute = EXECUTE,
            b's' if has_special => bits |= 0o6000,
            b't' if has_special => {
                bits |= STICKY;
                *who |= STICKY;
            }
            b's' | b't' => {}
            class => {
                if bits != 0 {
                    change(operator, *who, std::mem::take(&mut bits), changes);
                }
                is_assigned = true;
                if operator == b'+' && execute != 0 {
                    changes.push(Change::IfExecutable { bits: within(*who, std::mem::take(&mut execute)), set: true });
                }
                let from = CLASSES.iter().find(|known| known.0 == *class).map_or(0, |known| known.2);
                let to = if *who == 0 { 0o777 } else { *who & 0o777 };
                changes.push(Change::Copy { from, to, operator });
            }
        }
    }
    if bits != 0 || operator == b'=' && !is_assigned {
        change(operator, *who, bits, changes);
    }
    if execute != 0 {
        changes.push(Change::IfExecutable { bits: within(*who, execute), set: operator != b'-' });
    }
    Some(rest)
}

fn change(operator: u8, who: u32, bits: u32, changes: &mut Vec<Change>) {
    if operator == b'-' {
        changes.push(Change::Clear(within(who, bits)));
        return;
    }
    if operator == b'=' {
        changes.push(Change::Clear(if who == 0 { ALL } else { who }));
    }
    changes.push(Change::Set(within(who, bits)));
}

/// Returns the bits of the classes; where none is named, of all.
fn within(who: u32, bits: u32) -> u32 {
    if who == 0 { bits } else { who & bits }
}

impl Change {
    fn apply(&self, mode: u32, was_executable: bool) -> u32 {
        match *self {
            Change::Set(bits) => mode | bits,
            Change::Clear(bits) => mode & !bits,
            Change::IfExecutable { .. } if !was_executable => mode,
            Change::IfExecutable { bits, set } => {
                if set {
                    mode | bits
                } else {
                    mode & !bits
                }
            }
            Change::Copy { from, to, operator } => {
                let bits = (((mode >> from) & 0o7) * EXECUTE) & to;
                match operator {
                    b'+' => mode | bits,
                    b'-' => mode & !bits,
                    _ => mode & !to | bits,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_apply_as_setmode_has_them() {
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
            ("a=rx", 0o6755, true, 0o555),
            ("=", 0o3711, true, 0o1000),
            ("u+r-w", 0o200, false, 0o400),
            ("+", 0o644, false, 0o644),
            ("u+rwxg+x", 0o644, false, 0o744),
            ("a=rw,u+X", 0o4755, false, 0o766),
            ("ug=o", 0o4755, false, 0o4555),
            ("-X", 0o4755, false, 0o4644),
            ("-X", 0o644, false, 0o644),
            ("u=g", 0o4750, false, 0o4550),
            ("o+t", 0o644, false, 0o644),
        ] {
            assert_eq!(Mode::parse(text).unwrap().apply(before, is_directory), expected, "{text} of {before:o}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in ["999", "8", "10000", "77777777777777777777"] {
            assert_eq!(Mode::parse(bad), Err(ModeError::Octal(bad.into())), "{bad}");
        }
        for bad in ["", "u", "x", "u+q", "u+x,", ",u+x", "+x755", "-1", "0o755", "u +x", "é+x"] {
            assert_eq!(Mode::parse(bad), Err(ModeError::Syntax(bad.into())), "{bad}");
        }
    }
}
