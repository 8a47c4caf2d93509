//! A format as a template for Python's `%` operator, and the values to fill in. The access log of
//! an application with a filter on the logger `gunicorn.access` needs them.

use super::{ATOMS, Atom, Format, Piece, Shape, Stamps};
use crate::observe::Record;

/// The value of an atom, with gunicorn's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AtomValue {
    /// Escaped, as in a line.
    Text(String),
    /// A number.
    Number(u64),
}

impl Format {
    /// The format in the notation of Python's `%` operator, with all atoms that are known. `None`
    /// for `json`, which has no such notation.
    pub fn template(&self) -> Option<String> {
        let Shape::Pieces(pieces) = &self.shape else { return None };
        Some(pieces.iter().map(Piece::as_template).collect())
    }

    /// The value of each atom that has a letter.
    pub(in crate::observe) fn atoms(
        record: &Record<'_>,
        stamps: &mut Stamps,
    ) -> Vec<(&'static str, AtomValue)> {
        let mut value = |letter: &str, atom: Atom| match (letter, atom) {
            ("B", _) => AtomValue::Number(record.sent),
            (_, Atom::Seconds) => AtomValue::Number(record.elapsed.as_secs()),
            (_, Atom::Milliseconds) => AtomValue::Number(saturating(record.elapsed.as_millis())),
            (_, Atom::Microseconds) => AtomValue::Number(saturating(record.elapsed.as_micros())),
            (_, atom) => {
                let mut text = Vec::new();
                atom.render(record, stamps, &mut text);
                AtomValue::Text(String::from_utf8_lossy(&text).into_owned())
            }
        };
        ATOMS.iter().map(|&(letter, atom, _)| (letter, value(letter, atom))).collect()
    }
}

impl Piece {
    fn as_template(&self) -> String {
        match self {
            Piece::Text(text) => text.replace('%', "%%"),
            Piece::Atom(atom) => {
                // Of `B` and `b`, which are equal in a line, `b` is in the common formats.
                let letter = ATOMS.iter().rfind(|(_, known, _)| known == atom);
                format!("%({})s", letter.map_or("", |(letter, _, _)| letter))
            }
            Piece::RequestField(name) => format!("%({{{name}}}i)s"),
            Piece::ResponseField(name) => format!("%({{{name}}}o)s"),
            Piece::Environ(key) => format!("%({{{}}}e)s", key.to_lowercase()),
        }
    }
}

fn saturating(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
