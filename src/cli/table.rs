use std::io::{self, Write};

use serde_json::Value;

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Columns for people
    Table,
    /// One JSON object a line
    Json,
}

/// Prints rows under headings, as wide as their cells, at least as wide as docker's.
pub(super) fn print<const N: usize>(out: &mut impl Write, headings: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let widths: Vec<usize> = (0..N)
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            let widest = cells.chain([headings[column].len()]).max().unwrap_or_default();
            (widest + GAP).max(NARROWEST)
        })
        .collect();
    let line = |cells: [&str; N]| {
        let padded: String = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        padded.trim_end().to_owned() + "\n"
    };
    let mut text = line(headings);
    text.extend(rows.iter().map(|row| line(row.each_ref().map(String::as_str))));
    out.write_all(text.as_bytes())
}

/// Prints one object a line.
pub(super) fn print_json(out: &mut impl Write, rows: impl IntoIterator<Item = Value>) -> io::Result<()> {
    rows.into_iter().try_for_each(|row| writeln!(out, "{row}"))
}

/// Blanks between columns.
const GAP: usize = 3;
/// Width of the narrowest column with its gap.
const NARROWEST: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_in_text() {
        let mut out = Vec::new();
        print(&mut out, ["NAME", "TAG"], &[["a".repeat(8), "1".into()], ["b".into(), "latest".into()]]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "NAME       TAG\naaaaaaaa   1\nb          latest\n");
    }
}
