//! The responses by which this server proves to an ACME authority that it has a name. [RFC 8555
//! section 8]
//!
//! The process that orders a certificate publishes them, and the workers, which a connection of the
//! authority may reach at any time, read them: in a file without a name, which all inherit. So no
//! worker needs a message, and none has to confirm one.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use serde::{Deserialize, Serialize};

use crate::sys::nameless::nameless_file;

/// The protocol of handshakes that validate a name. [RFC 8737 section 6.2]
pub(super) const ACME_TLS: &[u8] = b"acme-tls/1";
/// Below this path the authority asks for the response to a token. [RFC 8555 section 8.3]
const HTTP_PATH: &[u8] = b"/.well-known/acme-challenge/";
/// More than the challenges for all names of a certificate take.
const MAX_BYTES: u64 = 4 << 20;

/// The response to one challenge.
#[derive(Debug, Serialize, Deserialize)]
pub enum Challenge {
    /// HTTP-01: the key authorization, at the path that ends with the token. [RFC 8555 section
    /// 8.3]
    Http {
        /// Chosen by the authority.
        token: String,
        /// The token, and the thumbprint of the account's key.
        key_authorization: String,
    },
    /// TLS-ALPN-01: a certificate for the name, which contains a digest of the key authorization.
    /// [RFC 8737 section 3]
    TlsAlpn {
        /// The name that is validated.
        name: String,
        /// The certificate and its key, in the PEM format.
        pem: String,
    },
}

/// The challenges that the authority may ask for at present.
pub struct Challenges {
    /// A digest, and the challenges in JSON that it is of. A reader ignores what does not match,
    /// because it may read while the content changes.
    file: File,
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges").finish_non_exhaustive()
    }
}

impl Challenges {
    /// No challenges, for this process and those that it forks.
    ///
    /// # Errors
    /// As the system does.
    pub fn new() -> io::Result<Challenges> {
        Ok(Challenges { file: nameless_file("rustwsgi-challenges")? })
    }

    /// Replaces all challenges. Only one process does so at a time.
    ///
    /// # Errors
    /// As the system does.
    pub fn publish(&self, challenges: &[Challenge]) -> io::Result<()> {
        let text = serde_json::to_vec(challenges)?;
        let mut content = digest(&SHA256, &text).as_ref().to_vec();
        content.extend_from_slice(&text);
        self.file.set_len(0)?;
        self.file.write_all_at(&content, 0)
    }

    /// The response to a request for this path, if it is one of the authority.
    pub(in crate::net) fn http_response(&self, path: &[u8]) -> Option<String> {
        let wanted = std::str::from_utf8(path.strip_prefix(HTTP_PATH)?).ok()?;
        self.read()?.into_iter().find_map(|challenge| match challenge {
            Challenge::Http { token, key_authorization } if token == wanted => {
                Some(key_authorization)
            }
            _ => None,
        })
    }

    /// The certificate and key for a handshake that validates a name, if that is under way.
    pub(super) fn certificate(&self, wanted: &str) -> Option<String> {
        self.read()?.into_iter().find_map(|challenge| match challenge {
            Challenge::TlsAlpn { name, pem } if name.eq_ignore_ascii_case(wanted) => Some(pem),
            _ => None,
        })
    }

    fn read(&self) -> Option<Vec<Challenge>> {
        let size = self.file.metadata().ok()?.len();
        if !(SHA256_OUTPUT_LEN as u64..=MAX_BYTES).contains(&size) {
            return None;
        }
        let mut content = vec![0; usize::try_from(size).ok()?];
        self.file.read_exact_at(&mut content, 0).ok()?;
        let (expected, text) = content.split_at_checked(SHA256_OUTPUT_LEN)?;
        let is_complete = digest(&SHA256, text).as_ref() == expected;
        is_complete.then(|| serde_json::from_slice(text).ok())?
    }
}

/// To keep it open in a process that closes all other files.
impl AsFd for Challenges {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(token: &str) -> Challenge {
        let key_authorization = format!("{token}.thumbprint");
        Challenge::Http { token: token.to_owned(), key_authorization }
    }

    #[test]
    fn only_published_tokens_have_a_response() {
        let challenges = Challenges::new().unwrap();
        let ask = |path: &str| challenges.http_response(path.as_bytes());
        assert_eq!(ask("/.well-known/acme-challenge/a"), None);
        challenges.publish(&[http("a"), http("bb")]).unwrap();
        assert_eq!(ask("/.well-known/acme-challenge/bb").as_deref(), Some("bb.thumbprint"));
        for path in ["/.well-known/acme-challenge/", "/.well-known/acme-challenge/b", "/a"] {
            assert_eq!(ask(path), None, "{path}");
        }
        challenges.publish(&[]).unwrap();
        assert_eq!(ask("/.well-known/acme-challenge/bb"), None);
    }

    #[test]
    fn content_that_does_not_match_its_digest_is_ignored() {
        let challenges = Challenges::new().unwrap();
        challenges.publish(&[http("a")]).unwrap();
        challenges.file.write_all_at(b"x", 40).unwrap();
        assert_eq!(challenges.http_response(b"/.well-known/acme-challenge/a"), None);
        challenges.file.set_len(3).unwrap();
        assert_eq!(challenges.http_response(b"/.well-known/acme-challenge/a"), None);
    }
}
