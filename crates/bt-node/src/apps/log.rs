//! What apps wrote: the last lines of each, in memory.

use std::collections::VecDeque;
use std::sync::Mutex;

use bt_app::OutputStream;

use super::limits::{LINE_BYTES, LOG_BYTES};
use crate::control::app::LogLine;
use crate::system::now;

/// The last lines of one app.
#[derive(Default)]
pub(crate) struct AppLog(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    lines: VecDeque<LogLine>,
    bytes: usize,
}

impl AppLog {
    /// Adds a line; the oldest go when there are too many.
    pub(crate) fn add(&self, is_error: bool, text: String) {
        let mut kept = self.0.lock().expect("no panic under this lock");
        kept.bytes += text.len() + 1;
        kept.lines.push_back(LogLine { time: now(), is_error, text });
        while kept.bytes > LOG_BYTES {
            let Some(oldest) = kept.lines.pop_front() else { return };
            kept.bytes -= oldest.text.len() + 1;
        }
    }

    /// The lines, oldest first.
    pub(crate) fn lines(&self) -> Vec<LogLine> {
        self.0.lock().expect("no panic under this lock").lines.iter().cloned().collect()
    }
}

/// Makes lines of what one call writes, in pieces as they come.
#[derive(Default)]
pub(crate) struct LineMaker {
    standard: Vec<u8>,
    error: Vec<u8>,
}

impl LineMaker {
    /// Takes a piece.
    pub(crate) fn push(&mut self, stream: OutputStream, bytes: &[u8], log: &AppLog) {
        let is_error = stream == OutputStream::Error;
        let rest = if is_error { &mut self.error } else { &mut self.standard };
        for byte in bytes {
            if *byte != b'\n' {
                rest.push(*byte);
            }
            if *byte == b'\n' || rest.len() == LINE_BYTES {
                log.add(is_error, shown(&std::mem::take(rest)));
            }
        }
    }

    /// The call is over: what has no end is a line, too.
    pub(crate) fn finish(&mut self, log: &AppLog) {
        for (is_error, rest) in [(false, &mut self.standard), (true, &mut self.error)] {
            if !rest.is_empty() {
                log.add(is_error, shown(&std::mem::take(rest)));
            }
        }
    }
}

/// Text that does nothing to a terminal.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches('\r');
    let escaped = text.chars().flat_map(|c| {
        let is_harmless = !c.is_control() || c == '\t';
        let (plain, escape) = if is_harmless { (Some(c), None) } else { (None, Some(c.escape_default())) };
        plain.into_iter().chain(escape.into_iter().flatten())
    });
    escaped.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_lines_that_do_nothing_to_a_terminal() {
        let (log, mut maker) = (AppLog::default(), LineMaker::default());
        maker.push(OutputStream::Standard, b"one\ntw", &log);
        maker.push(OutputStream::Error, b"bad\x1b[2J\r\n", &log);
        maker.push(OutputStream::Standard, b"o", &log);
        maker.finish(&log);
        let lines: Vec<_> = log.lines().into_iter().map(|line| (line.is_error, line.text)).collect();
        let expected = [(false, "one"), (true, "bad\\u{1b}[2J"), (false, "two")];
        assert_eq!(lines, expected.map(|(is_error, text)| (is_error, text.to_owned())));
    }

    #[test]
    fn the_oldest_lines_go_and_long_ones_are_cut() {
        let (log, mut maker) = (AppLog::default(), LineMaker::default());
        for _ in 0..300 {
            maker.push(OutputStream::Standard, &[b'x'; LINE_BYTES], &log);
        }
        maker.push(OutputStream::Standard, b"last\n", &log);
        let lines = log.lines();
        assert_eq!(lines.last().unwrap().text, "last");
        assert!(lines.iter().map(|line| line.text.len() + 1).sum::<usize>() <= LOG_BYTES);
        assert!(lines.len() > 10);
    }
}
