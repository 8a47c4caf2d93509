//! Session tickets: the state of a session, encrypted for its client, which presents it to resume
//! the session. [RFC 8446 section 4.6.1, RFC 5077]
//!
//! The master makes the keys and shares them with all workers and across reloads, so that any of
//! them resumes a session of another. A key encrypts tickets for [`ROTATION_INTERVAL`], and
//! decrypts them for as long again. rustls has tickets of its own, but their keys never leave a
//! process.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

/// How long a key encrypts tickets, and the lifetime of a ticket.
pub(super) const ROTATION_INTERVAL: Duration = Duration::from_secs(6 * 3600);

/// The bytes that identify a key in front of a ticket.
const NAME_LEN: usize = 16;
/// The bytes of an AES-256 key.
const SECRET_LEN: usize = 32;

/// The keys of all workers: the newest one first, and the one before it.
#[derive(Clone)]
pub struct TicketKeys(Vec<TicketKey>);

#[derive(Clone)]
struct TicketKey {
    name: [u8; NAME_LEN],
    secret: [u8; SECRET_LEN],
}

/// Without the secrets.
impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketKeys({})", self.0.len())
    }
}

impl TicketKeys {
    /// Makes the first key.
    ///
    /// # Errors
    /// A sentence, if the system has no random bytes.
    pub fn new() -> Result<TicketKeys, String> {
        Ok(TicketKeys(vec![TicketKey::new()?]))
    }

    /// Makes a new key, and drops the one before the last.
    ///
    /// # Errors
    /// A sentence, if the system has no random bytes.
    pub fn rotate(&mut self) -> Result<(), String> {
        self.0.insert(0, TicketKey::new()?);
        self.0.truncate(2);
        Ok(())
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for key in &self.0 {
            out.extend_from_slice(&key.name);
            out.extend_from_slice(&key.secret);
        }
    }

    /// Takes the keys that are the rest of `bytes`. `None` if they are incomplete, or there is
    /// none.
    pub(super) fn decode(bytes: &[u8]) -> Option<TicketKeys> {
        let (keys, rest) = bytes.as_chunks::<{ NAME_LEN + SECRET_LEN }>();
        let key = |bytes: &[u8; NAME_LEN + SECRET_LEN]| {
            let (name, secret) = bytes.split_first_chunk()?;
            Some(TicketKey { name: *name, secret: secret.try_into().ok()? })
        };
        let keys: Vec<_> = keys.iter().map(key).collect::<Option<_>>()?;
        (rest.is_empty() && !keys.is_empty()).then_some(TicketKeys(keys))
    }
}

impl TicketKey {
    fn new() -> Result<TicketKey, String> {
        let mut key = TicketKey { name: [0; NAME_LEN], secret: [0; SECRET_LEN] };
        let filled = rand::fill(&mut key.name).and_then(|()| rand::fill(&mut key.secret));
        filled.map_err(|_| "the system has no random bytes for session tickets".to_owned())?;
        Ok(key)
    }
}

/// Encrypts and decrypts tickets: `name, nonce, ciphertext, tag`.
pub(super) struct Ticketer {
    /// As [`TicketKeys`]; never empty.
    keys: Vec<([u8; NAME_LEN], LessSafeKey)>,
    /// Authenticated with each ticket: a ticket that was made with another context is not accepted.
    context: Vec<u8>,
}

impl Ticketer {
    /// `context` identifies the rules that admit clients. A session that resumes is not verified
    /// again, so tickets must end with the rules that they were made under.
    pub(super) fn new(keys: &TicketKeys, context: Vec<u8>) -> Ticketer {
        let prepare = |key: &TicketKey| {
            let secret = UnboundKey::new(&AES_256_GCM, &key.secret);
            (key.name, LessSafeKey::new(secret.expect("the length is that of the algorithm")))
        };
        Ticketer { keys: keys.0.iter().map(prepare).collect(), context }
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticketer({})", self.keys.len())
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        ROTATION_INTERVAL.as_secs() as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let (name, key) = self.keys.first()?;
        // Random, as several processes use the key. Two tickets of 2^32 have the same nonce with a
        // probability of 2^-33; a key encrypts far fewer. [NIST SP 800-38D section 8.3]
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let context = Aad::from(&self.context);
        key.seal_in_place_append_tag(Nonce::from(&nonce), context, &mut sealed).ok()?;
        Some([&name[..], &nonce, &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let (_, key) = self.keys.iter().find(|(known, _)| known == name)?;
        let mut opened = sealed.to_vec();
        let context = Aad::from(&self.context);
        let length = key.open_in_place(Nonce::from(nonce), context, &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticketer(keys: &TicketKeys) -> Ticketer {
        Ticketer::new(keys, b"rules".to_vec())
    }

    #[test]
    fn ticket_is_decrypted_until_its_key_was_replaced_twice() {
        let mut keys = TicketKeys::new().unwrap();
        let ticket = ticketer(&keys).encrypt(b"session").unwrap();
        for expected in [Some(&b"session"[..]), Some(b"session"), None] {
            let mut encoded = Vec::new();
            keys.encode(&mut encoded);
            // As in another worker.
            let shared = TicketKeys::decode(&encoded).unwrap();
            assert_eq!(ticketer(&shared).decrypt(&ticket).as_deref(), expected);
            keys.rotate().unwrap();
        }
    }

    #[test]
    fn ticket_of_other_rules_is_not_accepted() {
        let keys = TicketKeys::new().unwrap();
        let ticket = ticketer(&keys).encrypt(b"session").unwrap();
        assert_eq!(Ticketer::new(&keys, b"other".to_vec()).decrypt(&ticket), None);
        assert_eq!(ticketer(&TicketKeys::new().unwrap()).decrypt(&ticket), None);
    }

    #[test]
    fn ticket_with_any_changed_or_missing_byte_is_not_accepted() {
        let ticketer = ticketer(&TicketKeys::new().unwrap());
        let ticket = ticketer.encrypt(b"session").unwrap();
        for at in 0..ticket.len() {
            assert_eq!(ticketer.decrypt(&ticket[..at]), None, "cut at {at}");
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(ticketer.decrypt(&changed), None, "changed at {at}");
        }
    }

    #[test]
    fn equal_sessions_have_different_tickets() {
        let ticketer = ticketer(&TicketKeys::new().unwrap());
        assert_ne!(ticketer.encrypt(b"session"), ticketer.encrypt(b"session"));
    }

    #[test]
    fn incomplete_keys_are_not_decoded() {
        let mut encoded = Vec::new();
        TicketKeys::new().unwrap().encode(&mut encoded);
        for at in 0..encoded.len() {
            assert!(TicketKeys::decode(&encoded[..at]).is_none(), "{at}");
        }
        encoded.push(0);
        assert!(TicketKeys::decode(&encoded).is_none());
    }
}
