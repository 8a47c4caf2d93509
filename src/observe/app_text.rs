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
fn ends_in_traceback(text: &str) -> bool {
    let Some(start) = text.rfind(TRACEBACK) else { return false };
    let last = text[start..].trim_end_matches('\n').rsplit('\n').next().unwrap_or_default();
    last.starts_with([' ', '\t']) || last.starts_with(TRACEBACK)
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

    #[test]
    fn unfinished_text_is_bounded() {
        let piece = format!("{TRACEBACK}\n{}", " x\n".repeat(1000));
        let pieces = vec![piece.as_str(); 100];
        let records = records(&pieces);
        assert!(records.len() > 4);
        assert!(records.iter().all(|text| text.len() < MAX_FIELD_BYTES + piece.len()));
    }
}
