//! Ids of requests: those that a trusted peer has sent, and new ones.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand;

use crate::http1::Head;
use crate::observe::RequestId;
use crate::sys::clock;

/// The largest id that is taken from a peer, in bytes.
const MAX_ID_BYTES: usize = 128;

/// Makes ids that no other process makes.
#[derive(Debug)]
pub(super) struct IdSource {
    /// A random number, of this process alone.
    prefix: u64,
    /// Counts, from a random number on.
    next: AtomicU64,
}

impl IdSource {
    /// To be called after the fork of the process.
    pub(super) fn new() -> IdSource {
        let mut random = [0; 16];
        if rand::fill(&mut random).is_err() {
            // A process id and a time are unique, too, unless several machines write to one log.
            let now = u128::from(clock::now().as_nanos());
            random = (u128::from(std::process::id()) << 96 | now).to_be_bytes();
        }
        let random = u128::from_be_bytes(random);
        IdSource { prefix: (random >> 64) as u64, next: AtomicU64::new(random as u64) }
    }

    /// The next id: 32 hexadecimal digits, as those of nginx.
    pub(super) fn make(&self) -> RequestId {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        let mut id = String::with_capacity(32);
        // Writing to a string cannot fail.
        let _ = write!(id, "{:016x}{:016x}", self.prefix, mixed(count));
        id.into()
    }
}

/// Another number for each number, without a pattern: consecutive ids differ in
/// many digits. [Steele et al., "Fast splittable pseudorandom number generators", 2014]
fn mixed(count: u64) -> u64 {
    let mut z = count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// The id that a peer has sent in the field of this name. `None` if it is not of the allowed form,
/// or if there are several: it is not known which one other servers take. A head that was not
/// parsed to its end may lack fields.
pub(super) fn sent_id(head: &Head, field: &[u8]) -> Option<RequestId> {
    let mut values = head.is_complete().then(|| values_of(head, field))?;
    let (Some(id), None) = (values.next(), values.next()) else { return None };
    let is_visible = |byte: &u8| byte.is_ascii_graphic() && *byte != b'"';
    let is_allowed = (1..=MAX_ID_BYTES).contains(&id.len()) && id.iter().all(is_visible);
    std::str::from_utf8(id).ok().filter(|_| is_allowed).map(RequestId::from)
}

/// The values of all fields of this name, which is in lower case.
pub(super) fn values_of<'a>(head: &'a Head, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let is_same = move |found: &[u8]| found.eq_ignore_ascii_case(name);
    head.fields().filter(move |(found, _)| is_same(found)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::http1::{Connection, Limits};

    fn sent(fields: &[&[u8]]) -> Option<String> {
        let lines = fields.iter().map(|value| [b"x-Request-id: ", *value, b"\r\n"].concat());
        let head = [b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec(), lines.flatten().collect()].concat();
        let mut http = Connection::new(Limits::default());
        let _ = http.receive(&[head, b"\r\n".to_vec()].concat());
        sent_id(http.head(), b"x-request-id").map(|id| id.to_string())
    }

    #[test]
    fn id_of_visible_characters_is_taken() {
        let visible: String = ('!'..='~').filter(|&c| c != '"').collect();
        for id in ["1", "6fb9-4c", &visible, &"x".repeat(128)] {
            assert_eq!(sent(&[id.as_bytes()]).as_deref(), Some(id));
        }
        assert_eq!(
            sent(&[b" \t1 "]).as_deref(),
            Some("1"),
            "space around a value is not part of it"
        );
    }

    #[test]
    fn id_of_another_form_is_not_taken() {
        let long = [b'x'; 129];
        let bad: [&[u8]; 9] =
            [b"", b"a b", b"a\"b", b"a\tb", b"a\x7fb", b"a\x01b", b"\xc3\xa9", b"a\nb", &long];
        for id in bad {
            assert_eq!(sent(&[id]), None, "{}", id.escape_ascii());
        }
        assert_eq!(sent(&[]), None);
        assert_eq!(sent(&[b"1", b"1"]), None);
    }

    #[test]
    fn made_ids_differ_in_a_process_and_between_processes() {
        let sources = [IdSource::new(), IdSource::new()];
        let ids: HashSet<_> = (0..1000)
            .flat_map(|_| sources.iter().map(IdSource::make).collect::<Vec<_>>())
            .collect();
        assert_eq!(ids.len(), 2000);
        let is_hex = |id: &RequestId| id.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(ids.iter().all(|id| id.len() == 32 && is_hex(id)));
    }
}
