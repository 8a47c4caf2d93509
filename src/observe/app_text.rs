//! Text that the application writes to `wsgi.errors`, piece by piece, as whole records.
//!
//! `print` writes a line in two pieces, and `traceback.print_exc` a traceback in many. A log of
//! lines takes the pieces as they come. JSON and syslog have records instead: a piece waits, in its
//! thread, until its line is complete, and an unfinished traceback until its last line. What waits
//! is bounded, and is released at the end of the request.

use std::cell::RefCell;

use super::entry::MAX_FIELD_BYTES;

/// The first line of a traceback, apart from what an exception group has in front.
const TRACEBACK: &str = "Traceback (most recent call last):";
/// The first line of an exception group that is not part of another one.
const GROUP: &str = "+ Exception Group Traceback (most recent call last):";

thread_local! {
    static PENDING: RefCell<Pending> =
        const { RefCell::new(Pending { text: String::new(), write: None }) };
}

/// The text that waits.
struct Pending {
    text: String,
    /// Writes it when the thread ends.
    write: Option<fn(&str)>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(write) = self.write.filter(|_| !self.text.is_empty()) {
            write(&self.text);
        }
    }
}

/// Adds a piece. Returns the record that it completes. What still waits when the thread ends is
/// written with `write`.
pub(super) fn add(piece: &str, write: fn(&str)) -> Option<String> {
    let added = PENDING.try_with(|pending| {
        let pending = &mut *pending.borrow_mut();
        pending.write = Some(write);
        pending.text.push_str(piece);
        is_complete(&pending.text).then(|| std::mem::take(&mut pending.text))
    });
    // Fails if the thread is ending.
    added.unwrap_or_else(|_| Some(piece.to_owned()))
}

/// Takes what waits in this thread.
pub(super) fn take() -> Option<String> {
    let taken = PENDING.try_with(|pending| {
        let text = &mut pending.borrow_mut().text;
        if text.is_empty() { None } else { Some(std::mem::take(text)) }
    });
    taken.ok().flatten()
}

fn is_complete(text: &str) -> bool {
    text.len() >= MAX_FIELD_BYTES || text.ends_with('\n') && !ends_in_traceback(text)
}

/// True if the last traceback in the text lacks its last line, the only one that is not indented.
/// That of an exception group is indented throughout.
fn ends_in_traceback(text: &str) -> bool {
    let Some(start) = text.rfind(TRACEBACK) else { return false };
    let last = text[start..].trim_end_matches('\n').rsplit('\n').next().unwrap_or_default();
    if is_end_of_group(last)
        && let Some(start) = text.rfind(GROUP)
    {
        return !has_whole_group(&text[start..]);
    }
    last.starts_with([' ', '\t']) || last.starts_with(TRACEBACK)
}

/// `  +------------------------------------`
fn is_end_of_group(line: &str) -> bool {
    let rest = line.trim_start_matches(' ').strip_prefix('+');
    rest.is_some_and(|rest| rest.len() > 1 && rest.bytes().all(|byte| byte == b'-'))
}

/// True if the text, which begins with an exception group and ends with the end of one, has all
/// exceptions of the group: each group in it ends with such a line.
fn has_whole_group(text: &str) -> bool {
    // Of each group that is open: the column of its exceptions, how many it has, and the number of
    // the one that was begun last.
    let mut open: Vec<(usize, u64, u64)> = Vec::new();
    for line in text.lines() {
        let rest = line.trim_start_matches(' ');
        let column = line.len() - rest.len();
        if let Some(count) = rest.strip_prefix("| ").and_then(count_of_group) {
            open.retain(|(other, ..)| *other <= column);
            open.push((column + 2, count, 0));
        } else if let Some(rest) = rest.strip_prefix('+') {
            // The first one has the corner of the group in front: `+-+------- 1 -------`.
            let (column, rest) =
                rest.strip_prefix("-+").map_or((column, rest), |r| (column + 2, r));
            let number = match rest.trim_matches('-').trim() {
                // Those that follow are left out.
                "..." => u64::MAX,
                number => number.parse().unwrap_or(0),
            };
            if let Some(group) = open.iter_mut().find(|(other, ..)| *other == column)
                && number > 0
            {
                group.2 = number;
                open.retain(|(other, ..)| *other <= column);
            }
        }
    }
    open.iter().all(|(_, count, number)| number >= count)
}

/// `ExceptionGroup: failed (2 sub-exceptions)`
fn count_of_group(line: &str) -> Option<u64> {
    let rest = line.strip_suffix(" sub-exceptions)").or(line.strip_suffix(" sub-exception)"))?;
    rest.rsplit_once('(')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(pieces: &[&str]) -> Vec<String> {
        let mut records: Vec<_> = pieces.iter().filter_map(|piece| add(piece, |_| {})).collect();
        records.extend(take());
        records
    }

    #[test]
    fn line_of_several_pieces_is_one_record() {
        assert_eq!(records(&["a", "\n", "b\nc\n"]), ["a\n", "b\nc\n"]);
        assert_eq!(records(&["a", "b"]), ["ab"]);
        assert_eq!(take(), None);
    }

    #[test]
    fn traceback_is_one_record() {
        let pieces = [
            "before\n",
            "Traceback (most recent call last):\n",
            "  File \"a.py\", line 1, in f\n    g()\n",
            "  File \"a.py\", line 2, in g\n    1/0\n",
            "ZeroDivisionError: division by zero\n",
            "after\n",
        ];
        assert_eq!(records(&pieces), ["before\n", &pieces[1..5].concat(), "after\n"]);
        let whole = pieces[1..5].concat();
        assert_eq!(records(&[&whole]), [whole.as_str()]);
    }

    /// Regression: the record stayed open until the end of the request, or the next text that is
    /// not indented.
    #[test]
    fn exception_group_is_one_record_with_its_last_line() {
        let inner = "    | ExceptionGroup: in (2 sub-exceptions)\n    +-+---------------- 1 \
                     ----------------\n      | ValueError: 1\n      +---------------- 2 \
                     ----------------\n      | Traceback (most recent call last):\n      |   File \
                     \"a.py\", line 7, in r\n      | ZeroDivisionError: division by zero\n      \
                     +------------------------------------\n";
        let outer = "  + Exception Group Traceback (most recent call last):\n  |   File \"a.py\", \
                     line 3, in f\n  | ExceptionGroup: eg (2 sub-exceptions)\n  \
                     +-+---------------- 1 ----------------\n";
        let leaf = "    | KeyError: 'k'\n";
        let second = "    +---------------- 2 ----------------\n";
        let end = "    +------------------------------------\n";
        let more = "    +---------------- ... ----------------\n    | and 1 more exception\n";
        for group in [
            [outer, leaf, second, leaf, end].concat(),
            [outer, inner, second, leaf, end].concat(),
            // The end of the inner group is that of the outer one, too.
            [outer, leaf, second, inner].concat(),
            [outer, leaf, more, end].concat(),
        ] {
            let mut pieces = vec!["before\n"];
            pieces.extend(group.split_inclusive('\n'));
            pieces.push("after\n");
            assert_eq!(records(&pieces), ["before\n", group.as_str(), "after\n"]);
            assert_eq!(records(&[&group, "after\n"]), [group.as_str(), "after\n"]);
        }
    }

    #[test]
    fn unfinished_text_is_bounded() {
        let piece = format!("{TRACEBACK}\n{}", " x\n".repeat(1000));
        let pieces = vec![piece.as_str(); 100];
        let records = records(&pieces);
        assert!(records.len() > 4);
        assert!(records.iter().all(|text| text.len() < MAX_FIELD_BYTES + piece.len()));
    }
}
