//! Looks for values of secrets where none may be.

use super::Sandbox;

/// Forms in which a value could have been written somewhere.
pub fn forms(value: &str) -> Vec<Vec<u8>> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let url: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let base64 = |skip: usize| -> Vec<u8> {
        let bits: String = value.bytes().skip(skip).map(|byte| format!("{byte:08b}")).collect();
        let digits = bits.as_bytes().chunks_exact(6);
        digits.map(|six| ALPHABET[six.iter().fold(0, |n, bit| n * 2 + usize::from(bit - b'0'))]).collect()
    };
    let mut forms = vec![value.into(), hex.clone().into(), hex.to_uppercase().into(), url.into()];
    // In the middle of a text, a value begins at any of three places of a group.
    forms.extend([base64(0), base64(1), base64(2)]);
    forms
}

/// Returns every file of a sandbox's store.
pub fn kept(sandbox: &Sandbox) -> Vec<Vec<u8>> {
    let files = walkdir::WalkDir::new(sandbox.path("root")).into_iter().map(Result::unwrap);
    files.filter(|entry| entry.file_type().is_file()).map(|entry| std::fs::read(entry.path()).unwrap()).collect()
}

/// Asserts that no text has any of the values, in whatever form.
#[track_caller]
pub fn assert_absent(values: &[&str], texts: &[Vec<u8>]) {
    for form in values.iter().flat_map(|value| forms(value)) {
        let found = texts.iter().find(|text| text.windows(form.len()).any(|part| part == form));
        let shown = |text: &Vec<u8>| String::from_utf8_lossy(&text[..text.len().min(2000)]).into_owned();
        assert!(found.is_none(), "{} in {}", String::from_utf8_lossy(&form), found.map(shown).unwrap_or_default());
    }
}
