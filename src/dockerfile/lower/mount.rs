//! `RUN --mount=type=…,key=value,…` (semantics reference, section 10.5).

use std::ops::Range;

use super::Problems;
use crate::diagnostic::{Diagnostic, Span, Spanned};
use crate::dockerfile::ast::Text;
use crate::dockerfile::instruction::{Mount, MountField as Field, MountKind, Sharing, Word};
use crate::dockerfile::parse::MOST_FINDINGS;
use crate::dockerfile::suggest::{did_you_mean, nearest};

const KEYS: [&str; 18] = [
    "type",
    "target",
    "dst",
    "destination",
    "source",
    "src",
    "from",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
];
const KINDS: [(&str, MountKind); 5] = [
    ("bind", MountKind::Bind),
    ("cache", MountKind::Cache),
    ("tmpfs", MountKind::Tmpfs),
    ("secret", MountKind::Secret),
    ("ssh", MountKind::Ssh),
];
const SHARINGS: [(&str, Sharing); 3] =
    [("shared", Sharing::Shared), ("private", Sharing::Private), ("locked", Sharing::Locked)];

impl Field {
    fn value(&self) -> &str {
        self.value.as_ref().map_or("", |value| &value.value)
    }

    fn value_span(&self) -> Span {
        self.value.as_ref().map_or(self.span, |value| value.span)
    }

    /// Tells whether what the mount is, and which other fields it may have, hangs on a variable.
    fn is_undecided(&self) -> bool {
        let decides = ["type", "sharing", "required", "readonly", "ro", "readwrite", "rw"];
        decides.contains(&self.key.value.as_str()) && self.value().contains('$')
    }

    fn invalid(&self, what: &str, label: &str) -> Diagnostic {
        let message = format!("invalid value for {what}: `{}`", self.value());
        Diagnostic::error("invalid-mount-value", message, self.value_span()).with_label(label)
    }
}

/// Returns the mount that the value of `--mount` describes; nothing where that has been reported.
pub(super) fn lower(value: &Text, problems: &mut Problems) -> Option<Mount> {
    let fields: Vec<Field> = fields(value).iter().map(field).collect();
    if fields.iter().any(Field::is_undecided) {
        // Whatever it will be, this stage is needed first.
        let from = fields.iter().filter(|field| field.key.value == "from").find_map(|field| field.value.clone());
        return Some(Mount { undecided: fields, from, ..Mount::default() });
    }
    assemble(&fields, value.span()).map_err(|found| problems.extend(found)).ok()
}

/// Returns what a mount is whose deciding fields hold variables, once `expand` has replaced those.
///
/// # Errors
/// What `expand` says, and what is wrong with the fields.
pub fn decide<E: From<Vec<Diagnostic>>>(
    mount: &Spanned<Mount>,
    expand: impl Fn(&Word) -> Result<String, E>,
) -> Result<Mount, E> {
    let decided = mount.value.undecided.iter().map(|field| match &field.value {
        Some(word) if field.is_undecided() => {
            Ok(Field { value: Some(Spanned::new(expand(word)?, word.span)), ..field.clone() })
        }
        _ => Ok(field.clone()),
    });
    Ok(assemble(&decided.collect::<Result<Vec<_>, E>>()?, mount.span)?)
}

fn assemble(fields: &[Field], span: Span) -> Result<Mount, Vec<Diagnostic>> {
    let mut mount = Mount::default();
    // Each finding looks for what may have been meant, and nobody reads more of them.
    let wrong = fields.iter().filter_map(|field| take(field, &mut mount).err());
    let mut found: Vec<Diagnostic> = wrong.take(MOST_FINDINGS).collect();
    if found.is_empty() {
        found.extend(fields.iter().filter_map(|field| misplaced(field, mount.kind)));
        found.extend(incomplete(&mount, span));
    }
    if found.is_empty() { Ok(mount) } else { Err(found) }
}

/// Splits at commas as CSV does: a field that begins with a double quote ends with one, and `""` inside is one.
fn fields(value: &Text) -> Vec<Text> {
    let text = value.as_str();
    let mut fields = Vec::new();
    let mut start = 0;
    loop {
        let (field, end) = match text[start..].strip_prefix('"') {
            Some(_) => quoted_field(value, start + 1),
            None => plain_field(value, start),
        };
        fields.push(field);
        if end >= text.len() {
            return fields;
        }
        start = end + 1;
    }
}

fn plain_field(value: &Text, start: usize) -> (Text, usize) {
    let text = value.as_str();
    let end = text[start..].find(',').map_or(text.len(), |comma| start + comma);
    (value.slice(start..end), end)
}

fn quoted_field(value: &Text, mut start: usize) -> (Text, usize) {
    let text = value.as_str();
    let mut field = value.slice(start..start);
    while let Some(quote) = text[start..].find('"').map(|quote| start + quote) {
        field.append(value, start..quote);
        if !text[quote + 1..].starts_with('"') {
            // What follows the closing quote up to the comma belongs to nothing; CSV readers refuse it, and so does `field`.
            let (rest, end) = plain_field(value, quote + 1);
            field.append(&rest, 0..rest.as_str().len());
            return (field, end);
        }
        field.append(value, quote..quote + 1);
        start = quote + 2;
    }
    field.append(value, start..text.len());
    (field, text.len())
}

fn field(text: &Text) -> Field {
    let whole = text.as_str();
    let equals = whole.find('=');
    let range: Range<usize> = 0..equals.unwrap_or(whole.len());
    let key = text.spanned(range).map(|key| key.to_ascii_lowercase());
    Field { key, value: equals.map(|equals| text.spanned(equals + 1..whole.len())), span: text.span() }
}

/// Puts one field into the mount.
fn take(field: &Field, mount: &mut Mount) -> Result<(), Diagnostic> {
    let key = field.key.value.as_str();
    if field.value.is_none() && KEYS.contains(&key) && !may_stand_alone(key) || field.span.start == field.span.end {
        return Err(no_value(field));
    }
    let word: Option<Word> = field.value.clone();
    match key {
        "type" => mount.kind = choose(field, "mount-type", "mount type", &KINDS)?,
        "target" | "dst" | "destination" => mount.target = Some(target(field)?),
        "source" | "src" => mount.source = word,
        // As for BuildKit, nothing is as good as no `from`.
        "from" => mount.from = Some(from(field)?).filter(|from| !from.value.is_empty()),
        "readonly" | "ro" => mount.read_only = Some(boolean(field)?),
        "readwrite" | "rw" => mount.read_only = Some(!boolean(field)?),
        "id" => mount.id = word.filter(|id| !id.value.is_empty()),
        "sharing" => mount.sharing = Some(choose(field, "mount-sharing", "sharing value", &SHARINGS)?),
        "required" => mount.required = Some(boolean(field)?),
        "size" => mount.size = Some(size(field)?),
        "mode" => mount.mode = Some(number(field, 8, "must be octal, such as 0755")?),
        "uid" => mount.uid = Some(number(field, 10, "must be a number")?),
        "gid" => mount.gid = Some(number(field, 10, "must be a number")?),
        "env" if field.value().is_empty() => return Err(no_value(field)),
        "env" => mount.env = word,
        _ => return Err(unexpected(field)),
    }
    Ok(())
}

fn may_stand_alone(key: &str) -> bool {
    matches!(key, "readonly" | "ro" | "readwrite" | "rw" | "required")
}

fn no_value(field: &Field) -> Diagnostic {
    let message = format!("field `{}` must be a key=value pair", field.key.value);
    Diagnostic::error("mount-field", message, field.span).with_label("has no value")
}

fn unexpected(field: &Field) -> Diagnostic {
    let key = &field.key.value;
    let finding = Diagnostic::error("mount-key", format!("unexpected key `{key}` in a mount"), field.key.span)
        .with_label("no mount has this option");
    match did_you_mean(nearest(key, KEYS.into_iter().chain(["env"])), "") {
        Some(help) => finding.with_help(help),
        None => finding,
    }
}

fn choose<T: Copy>(
    field: &Field,
    code: &'static str,
    what: &str,
    choices: &[(&'static str, T)],
) -> Result<T, Diagnostic> {
    let value = field.value();
    if let Some(&(_, choice)) = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(value)) {
        return Ok(choice);
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let finding = Diagnostic::error(code, format!("unsupported {what} `{value}`"), field.value_span())
        .with_label(format!("must be one of {}", names.join(", ")));
    Err(match did_you_mean(nearest(value, names), "") {
        Some(help) => finding.with_help(help),
        None => finding,
    })
}

fn target(field: &Field) -> Result<Word, Diagnostic> {
    if matches!(field.value(), "" | "/") {
        let message = format!("invalid mount target `{}`", field.value());
        return Err(Diagnostic::error("mount-target", message, field.span).with_label("must be a path below the root"));
    }
    Ok(Spanned::new(field.value().to_owned(), field.value_span()))
}

fn from(field: &Field) -> Result<Word, Diagnostic> {
    if field.value().contains('$') {
        return Err(Diagnostic::error(
            "variable-in-from",
            "`from` of a mount does not support variable expansion",
            field.value_span(),
        )
        .with_label("would be taken literally")
        .with_help("define a stage with `FROM $variable AS name` and mount from that"));
    }
    Ok(Spanned::new(field.value().to_owned(), field.value_span()))
}

fn boolean(field: &Field) -> Result<bool, Diagnostic> {
    if field.value.is_none() {
        return Ok(true);
    }
    match field.value() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(field.invalid(&field.key.value, "must be `true` or `false`")),
    }
}

fn number(field: &Field, radix: u32, label: &str) -> Result<Word, Diagnostic> {
    let value = field.value();
    if !value.contains('$') && (value.starts_with('+') || u32::from_str_radix(value, radix).is_err()) {
        return Err(field.invalid(&field.key.value, label));
    }
    Ok(Spanned::new(value.to_owned(), field.value_span()))
}

/// Returns a size in bytes where it has no variable, and the word itself otherwise.
fn size(field: &Field) -> Result<Word, Diagnostic> {
    let value = field.value();
    if value.contains('$') {
        return Ok(Spanned::new(value.to_owned(), field.value_span()));
    }
    let bytes = size_bytes(value).ok_or_else(|| field.invalid("size", "must be a size, such as 64m or 1g"))?;
    Ok(Spanned::new(bytes.to_string(), field.value_span()))
}

/// Returns the bytes of `64m`, `1.5GiB`, `100`: units are powers of 1024 and their letters have no case.
pub fn size_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim_start().to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let power = ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == unit)?;
    let bytes = number * 1024_f64.powi(i32::try_from(power).ok()?);
    // A float beyond the range of the integer would be silently cut down.
    (bytes < 9e18).then_some(bytes as u64)
}

/// Returns the finding where the kind of mount has no use for a field.
fn misplaced(field: &Field, kind: MountKind) -> Option<Diagnostic> {
    let key = field.key.value.as_str();
    let allowed: &[MountKind] = match key {
        "size" => &[MountKind::Tmpfs],
        "sharing" => &[MountKind::Cache],
        "mode" | "uid" | "gid" => &[MountKind::Cache, MountKind::Secret, MountKind::Ssh],
        "required" => &[MountKind::Secret, MountKind::Ssh],
        "from" => &[MountKind::Bind, MountKind::Cache, MountKind::Tmpfs, MountKind::Ssh],
        "source" | "src" => &[MountKind::Bind, MountKind::Cache, MountKind::Tmpfs, MountKind::Secret],
        _ => return None,
    };
    if allowed.contains(&kind) {
        return None;
    }
    let message = format!("unexpected key `{key}` for mount type `{}`", name(kind));
    Some(Diagnostic::error("mount-key", message, field.key.span).with_label(format!("not for {} mounts", name(kind))))
}

fn name(kind: MountKind) -> &'static str {
    KINDS.iter().find(|(_, known)| *known == kind).map_or("bind", |(name, _)| name)
}

/// Returns the finding where the mount as a whole makes no sense.
fn incomplete(mount: &Mount, span: Span) -> Option<Diagnostic> {
    match mount.kind {
        MountKind::Bind | MountKind::Cache | MountKind::Tmpfs if mount.target.is_none() => {
            let message = format!("{} mount has no target", name(mount.kind));
            Some(Diagnostic::error("mount-target", message, span).with_label("needs `target=/path`"))
        }
        MountKind::Secret => match (&mount.source, &mount.id, &mount.target) {
            (Some(source), Some(_), _) => {
                let message = "a secret mount cannot have both `source` and `id`";
                Some(Diagnostic::error("mount-key", message, source.span).with_label("means the same as `id`"))
            }
            (None, None, None) => {
                let message = "invalid secret mount: one of `id`, `source`, `target` is required";
                Some(Diagnostic::error("mount-field", message, span).with_label("which secret?"))
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024() {
        for (text, expected) in [
            ("0", Some(0)),
            ("100", Some(100)),
            ("64m", Some(64 << 20)),
            ("1.5GiB", Some(3 << 29)),
            ("2kb", Some(2048)),
            ("1 G", Some(1 << 30)),
            ("zz", None),
            ("", None),
            ("-1", None),
            ("1x", None),
            ("99999999p", None),
        ] {
            assert_eq!(size_bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn findings_end_where_nobody_reads_on() {
        let mut value = Text::at(0);
        value.push(&"a,".repeat(1000), 0);
        let mut problems = Problems::default();
        assert!(lower(&value, &mut problems).is_none());
        assert_eq!(problems.len(), MOST_FINDINGS);
    }

    #[test]
    fn fields_are_csv() {
        let read = |text: &str| {
            let mut whole = Text::at(0);
            whole.push(text, 0);
            fields(&whole).iter().map(|field| field.as_str().to_owned()).collect::<Vec<_>>()
        };
        for (text, expected) in [
            ("a=b,c", &["a=b", "c"][..]),
            ("\"a=b,c\",d", &["a=b,c", "d"]),
            ("\"a=\"\"b\"", &["a=\"b"]),
            ("", &[""]),
            ("a,", &["a", ""]),
            ("\"a", &["a"]),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
