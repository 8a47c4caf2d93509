//! A table of text, and the notation of its values.

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Rows below a header. Each column is as wide as its widest cell.
#[derive(Debug)]
pub(super) struct Table<const COLUMNS: usize> {
    header: [(&'static str, Align); COLUMNS],
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(super) fn new(header: [(&'static str, Align); COLUMNS]) -> Table<COLUMNS> {
        Table { header, rows: Vec::new() }
    }

    pub(super) fn add(&mut self, row: [String; COLUMNS]) {
        self.rows.push(row);
    }

    pub(super) fn render(&self) -> String {
        let header = self.header.map(|(title, _)| title.to_owned());
        let width_of = |column: usize| {
            let cells = self.rows.iter().chain([&header]).map(|row| row[column].chars().count());
            cells.max().unwrap_or_default()
        };
        let widths: [usize; COLUMNS] = std::array::from_fn(width_of);
        let line = |row: &[String; COLUMNS]| {
            let cells = row.iter().zip(widths).zip(self.header);
            let cells = cells.map(|((cell, width), (_, align))| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        std::iter::once(&header).chain(&self.rows).map(line).collect()
    }
}

/// `1,234,567`
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 request`, `1,234 requests`: a number with its noun, which is given as a singular.
pub(super) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// `12.3 MiB`
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `12 ms`, `3.4 s`, `2 min 5 s`, `3 h 12 min`, `4 d 2 h`
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0 if seconds < 0.9995 => format!("{:.0} ms", seconds.max(0.0) * 1000.0),
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3600 % 24),
    }
}

/// Text of a client or a worker, which must not control the terminal.
pub(super) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        let is_safe =
            !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match is_safe {
            true => printable.push(c),
            false => printable.extend(c.escape_default()),
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([("PID", Align::Right), ("STATE", Align::Left)]);
        table.add(["7".into(), "ready".into()]);
        table.add(["12345".into(), "é".into()]);
        assert_eq!(table.render(), "  PID  STATE\n    7  ready\n12345  é\n");
    }

    #[test]
    fn numbers_are_readable() {
        let numbers = [0, 999, 1000, 1_234_567].map(grouped);
        assert_eq!(numbers, ["0", "999", "1,000", "1,234,567"]);
        let counts = [0, 1, 1_234].map(|number| counted(number, "idle thread"));
        assert_eq!(counts, ["0 idle threads", "1 idle thread", "1,234 idle threads"]);
        let sizes = [0, 2048, 33_554_432, 5 << 30].map(bytes);
        assert_eq!(sizes, ["0.0 KiB", "2.0 KiB", "32.0 MiB", "5.0 GiB"]);
        let times = [0.0, 0.0123, 0.9996, 3.42, 125.0, 11_520.0, 360_000.0, -1.0].map(duration);
        let expected =
            ["0 ms", "12 ms", "1.0 s", "3.4 s", "2 min 5 s", "3 h 12 min", "4 d 4 h", "0 ms"];
        assert_eq!(times, expected);
    }

    #[test]
    fn text_of_others_does_not_control_the_terminal() {
        assert_eq!(printable("/é?a=1"), "/é?a=1");
        assert_eq!(printable("a\x1b[2J\n\u{9b}\u{202e}"), "a\\u{1b}[2J\\n\\u{9b}\\u{202e}");
    }
}
