//! What a running command shows: on a terminal one line that moves below the lines that stay, elsewhere plain
//! lines alone. Lines go to standard output, the moving line to standard error.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::Duration;

pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new(message: impl Into<String>) -> Progress {
        let terminal = std::io::stderr().is_terminal() && std::io::stdout().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        if terminal {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        bar.set_message(message.into());
        Progress { bar }
    }

    /// Changes the moving line.
    pub(crate) fn message(&self, message: impl Into<String>) {
        self.bar.set_message(message.into());
    }

    /// A line that stays.
    pub(crate) fn line(&self, text: &str) {
        self.bar.suspend(|| print(text));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A line on standard output. A reader that went away is no error of the command.
pub(crate) fn print(text: &str) {
    let _ = is_read(text);
}

/// The same for a command that does nothing but print: false once nobody reads any more.
pub(crate) fn is_read(text: &str) -> bool {
    writeln!(std::io::stdout().lock(), "{text}").is_ok()
}

/// Text of others, for a terminal: control characters but the tab could move its cursor or rename its window,
/// colours are what build tools really use.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' if rest.peek() == Some(&'[') => {
                rest.next();
                let mut sequence = String::new();
                while let Some(c) = rest.next_if(|c| c.is_ascii_digit() || *c == ';') {
                    sequence.push(c);
                }
                // Only "m", which sets colours, is kept.
                if rest.next() == Some('m') {
                    out.push_str(&format!("\u{1b}[{sequence}m"));
                }
            }
            c if c.is_control() && c != '\t' => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn only_colours_pass() {
        for (text, expect) in [
            ("plain\ttext", "plain\ttext"),
            ("\u{1b}[31mred\u{1b}[0m", "\u{1b}[31mred\u{1b}[0m"),
            ("\u{1b}[2Jx", "x"),
            ("\u{1b}]0;title\u{7}x", "]0;titlex"),
            ("a\rb\u{9b}c", "abc"),
            ("\u{1b}[", ""),
        ] {
            assert_eq!(printable(text), expect, "{text:?}");
        }
    }
}
