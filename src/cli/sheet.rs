//! Aligned text for people.

use std::fmt::{self, Write};

/// Sections of lines, each a name and a value; names align on the left, values on the right of the longest name.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    lines: Vec<Line>,
}

#[derive(Debug)]
enum Line {
    Title(String),
    Entry(String, String),
    Cells(Vec<String>),
    Note(String),
}

impl Sheet {
    /// Begins a section.
    pub fn title(&mut self, title: impl Into<String>) {
        self.lines.push(Line::Title(title.into()));
    }

    /// A name and its value.
    pub fn entry(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.lines.push(Line::Entry(name.into(), value.into()));
    }

    /// A row of a table; the columns of all rows between two titles align.
    pub fn cells(&mut self, cells: impl IntoIterator<Item = String>) {
        self.lines.push(Line::Cells(cells.into_iter().collect()));
    }

    /// A line of text.
    pub fn note(&mut self, text: impl Into<String>) {
        self.lines.push(Line::Note(text.into()));
    }

    /// The widths of the columns of the section that line `at` lies in.
    fn widths(&self, at: usize) -> Vec<usize> {
        let is_title = |line: &Line| matches!(line, Line::Title(_));
        let begin = self.lines[..at].iter().rposition(is_title).unwrap_or(0);
        let section = self.lines[begin..].iter().skip(1);
        let mut widths: Vec<usize> = Vec::new();
        for line in section.take_while(|line| !is_title(line)) {
            if let Line::Cells(cells) = line {
                widths.resize(widths.len().max(cells.len()), 0);
                for (width, cell) in widths.iter_mut().zip(cells) {
                    *width = (*width).max(cell.chars().count());
                }
            }
        }
        widths
    }
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.lines.iter().map(|line| match line {
            Line::Entry(name, _) => name.chars().count(),
            _ => 0,
        });
        let width = names.max().unwrap_or(0);
        let mut text = String::new();
        for (at, line) in self.lines.iter().enumerate() {
            match line {
                Line::Title(title) => {
                    let space = if at == 0 { "" } else { "\n" };
                    writeln!(text, "{space}{title}")?;
                }
                Line::Entry(name, value) => writeln!(text, "  {name:width$}  {value}")?,
                Line::Note(note) => writeln!(text, "  {note}")?,
                Line::Cells(cells) => {
                    for (cell, width) in cells.iter().zip(self.widths(at)) {
                        write!(text, "  {cell:>width$}")?;
                    }
                    text.push('\n');
                }
            }
        }
        f.write_str(text.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_within_their_section() {
        let mut sheet = Sheet::default();
        sheet.title("first");
        sheet.cells(["a".into(), "longer".into()]);
        sheet.cells(["12345".into(), "b".into()]);
        sheet.title("second");
        sheet.entry("name", "value");
        sheet.entry("longest name", "1");
        assert_eq!(
            sheet.to_string(),
            "first\n      a  longer\n  12345       b\n\nsecond\n  name          value\n  longest name  1"
        );
    }
}
