//! Names of containers that nobody has named.

use rustix::rand::GetRandomFlags;

/// How clay is.
const QUALITIES: [&str; 32] = [
    "amber", "ashen", "baked", "bright", "calm", "clear", "coarse", "cobalt", "cool", "crisp", "dry", "even", "fine",
    "firm", "fired", "glazed", "golden", "grand", "green", "hollow", "level", "little", "mellow", "plain", "quiet",
    "round", "rustic", "sandy", "smooth", "sound", "steady", "warm",
];

/// What a kiln makes, and what that is made with.
const THINGS: [&str; 32] = [
    "amphora", "basin", "beaker", "bowl", "brick", "clay", "crock", "cup", "dish", "ember", "ewer", "figurine",
    "flask", "glaze", "goblet", "jar", "jug", "lantern", "loam", "mug", "pitcher", "plate", "pot", "saucer", "shard",
    "slip", "stove", "tile", "tray", "urn", "vase", "wheel",
];

/// Returns a name like `glazed_jug4d2`: there are four million of them.
pub(super) fn random() -> String {
    let mut bytes = [0_u8; 4];
    while rustix::rand::getrandom(&mut bytes[..], GetRandomFlags::empty()) != Ok(bytes.len()) {}
    let number = u32::from_le_bytes(bytes);
    let pick = |words: [&'static str; 32], shift: u32| words[(number >> shift & 31) as usize];
    format!("{}_{}{:03x}", pick(QUALITIES, 0), pick(THINGS, 5), number >> 10 & 0xfff)
}

/// Tells whether docker takes `name` for a container.
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name.len() > 1
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names() {
        for name in [random().as_str(), "a1", "web-1.a_b"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a", "-a", "a b", "a/b", "ä1"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
