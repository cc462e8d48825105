//! Tables and small words for people: columns, ages, shortened text.

use std::fmt::Write;

use crate::domain::{Timestamp, duration, is_printable};

/// Columns under headings, as wide as they need to be.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![headings.iter().map(|h| (*h).to_owned()).collect()],
        }
    }

    /// A list of facts, without headings.
    pub fn facts() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows
            .push(cells.iter().map(|cell| plain(cell)).collect());
    }

    /// The table as lines.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |c: usize| {
            self.rows
                .iter()
                .filter_map(|r| r.get(c))
                .map(|s| s.chars().count())
                .max()
        };
        let widths: Vec<usize> = (0..columns).map(|c| width(c).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(line, "{cell:width$}  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Text of others on one line of a terminal: without what drives it, reorders or hides.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if is_printable(c) { c } else { ' ' })
        .collect()
}

/// At most `most` characters.
pub fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// How long ago, in one unit: `12s ago`, `3m ago`, `5h ago`, `2d ago`.
pub fn ago(at: Timestamp) -> String {
    let seconds = at.age().as_secs();
    let (number, unit) = match seconds {
        0..60 => (seconds, "s"),
        60..3600 => (seconds / 60, "m"),
        3600..86_400 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    format!("{number}{unit} ago")
}

/// A measured time, or nothing where there is none yet.
pub fn took(millis: Option<u64>) -> String {
    millis.map_or_else(String::new, |ms| {
        duration::show(std::time::Duration::from_millis(ms))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let mut table = Table::new(&["NAME", "LIVE"]);
        table.row(["shop".into(), "1a2b3c4d5e \u{1b}[2Jcafé".into()]);
        table.row(["a-longer-name".into(), String::new()]);
        assert_eq!(
            table.text(),
            "NAME           LIVE\nshop           1a2b3c4d5e  [2Jcafé\na-longer-name\n"
        );
    }

    #[test]
    fn ages_have_one_unit() {
        let age = |seconds: i64| {
            ago(Timestamp::from_millis(
                Timestamp::now().millis() - seconds * 1000,
            ))
        };
        assert_eq!(
            [age(3), age(200), age(7300), age(200_000)],
            ["3s ago", "3m ago", "2h ago", "2d ago"]
        );
        assert_eq!(shorten("a long subject", 7), "a long…");
    }
}
