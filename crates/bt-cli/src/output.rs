//! Printing results on standard output.

use std::io::{self, Write};

use bt_node::control::Failure;
use serde::Serialize;

use crate::arguments::Output;
use crate::{End, Outcome};

/// Prints `value` as JSON, or as the text that `text` makes of it.
pub fn show<T: Serialize>(format: Output, value: &T, text: impl FnOnce(&T) -> String) -> Outcome {
    match format {
        Output::Text => print(&text(value)),
        Output::Json => {
            let mut json = serde_json::to_string_pretty(value).expect("reports have text keys and no infinite numbers");
            json.push('\n');
            print(&json)
        }
    }
}

/// Prints text as it is. A reader that went away (`bt ... | head`) ends the command quietly.
pub fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(End::Quietly(0)),
        Err(error) => Err(Failure::io("writing the result to standard output", &error).into()),
    }
}

/// Says something on standard error that is neither a result nor a failure.
pub fn note(text: &str) {
    // When standard error is gone there is nobody to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Lines of "name  value" with the values in one column.
pub fn columns(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    lines.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

/// A table: each column as wide as its widest cell; cells of number columns (`right`) are aligned right.
pub fn table(header: &[&str], right: &[bool], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[&str]| {
        let mut line = String::new();
        for ((cell, width), right) in cells.iter().zip(&widths).zip(right) {
            let padded = if *right { format!("{cell:>width$}  ") } else { format!("{cell:width$}  ") };
            line.push_str(&padded);
        }
        format!("{}\n", line.trim_end())
    };
    let rows = rows.iter().map(|row| line(&row.iter().map(String::as_str).collect::<Vec<_>>()));
    std::iter::once(line(header)).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let rows = [vec!["a".to_owned(), "10".to_owned()], vec!["longer".to_owned(), "9".to_owned()]];
        assert_eq!(table(&["name", "n"], &[false, true], &rows), "name     n\na       10\nlonger   9\n");
    }
}
