//! Tables and small words for people: columns, ages, shortened text.

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

    /// The table as lines. A wide letter takes the two columns that a terminal gives it.
    pub fn text(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.add_rows(&self.rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.lines().fold(String::new(), |mut text, line| {
            text.push_str(line.trim_end());
            text.push('\n');
            text
        })
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
    fn a_wide_letter_takes_two_columns() {
        let mut table = Table::facts();
        table.row(["日本".into(), "x".into()]);
        table.row(["abcd".into(), "y".into()]);
        assert_eq!(table.text(), "日本  x\nabcd  y\n");
    }

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
