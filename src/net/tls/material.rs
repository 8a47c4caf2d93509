//! The bytes of certificates, keys and revocation lists.
//!
//! The master reads them with its rights, and passes them to its workers: those that it forks
//! inherit them, and those that run get them in a file without a name. So a worker need not have
//! the right to read the file of a key.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::config::TlsSettings;

/// The largest file that is read. A chain has a few KiB; a revocation list may be large.
const MAX_FILE_BYTES: u64 = 32 << 20;

/// The option that says where the certificate of ACME is.
const ISSUED: &str = "--acme-cache";

/// The bytes of all files that the options name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Material {
    /// The pairs of `--certfile` and `--keyfile`, in their order.
    pub(super) pairs: Vec<Pair>,
    /// The certificate that ACME has issued, once there is one.
    pub(super) issued: Option<Pair>,
    /// `--ca-certs`.
    pub(super) authorities: Option<Source>,
    /// `--ca-crl`.
    pub(super) revoked: Option<Source>,
}

/// A certificate chain, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) chain: Source,
    pub(super) key: Source,
}

/// The bytes of one file, with the option and the path for messages.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// Without the bytes, which may be a key.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.name, self.bytes.len())
    }
}

impl Material {
    /// Reads all files.
    ///
    /// # Errors
    /// A sentence that names the option and the file.
    pub fn read(settings: &TlsSettings) -> Result<Material, String> {
        let pair = |(index, chain): (usize, &std::path::PathBuf)| {
            let chain = Source::read("--certfile", chain)?;
            let key = match settings.keyfiles.get(index) {
                Some(path) => Source::read("--keyfile", path)?,
                None => chain.clone(),
            };
            Ok::<_, String>(Pair { chain, key })
        };
        let optional = |option: &str, path: &Option<std::path::PathBuf>| {
            path.as_ref().map(|path| Source::read(option, path)).transpose()
        };
        let issued = settings.acme.certificate_file().filter(|path| path.exists());
        let issued = optional(ISSUED, &issued)?;
        Ok(Material {
            issued: issued.map(|source| Pair { chain: source.clone(), key: source }),
            pairs: settings.certfiles.iter().enumerate().map(pair).collect::<Result<_, _>>()?,
            authorities: optional("--ca-certs", &settings.ca_certs)?,
            revoked: optional("--ca-crl", &settings.ca_crl)?,
        })
    }

    /// All certificates, those of the options first.
    pub(super) fn all_pairs(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.iter().chain(&self.issued)
    }

    /// Appends all bytes to `out`, for [`Material::decode`].
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.pairs.len());
        for pair in &self.pairs {
            pair.chain.encode(out);
            pair.key.encode(out);
        }
        let issued = self.issued.as_ref().map(|pair| pair.chain.clone());
        for optional in [&issued, &self.authorities, &self.revoked] {
            put_count(out, usize::from(optional.is_some()));
            optional.iter().for_each(|source| source.encode(out));
        }
    }

    /// Takes what [`Material::encode`] has written from the front of `bytes`. `None` if it is
    /// incomplete.
    pub(super) fn decode(bytes: &mut &[u8]) -> Option<Material> {
        let mut pairs = Vec::new();
        for _ in 0..take_count(bytes)? {
            pairs.push(Pair { chain: Source::decode(bytes)?, key: Source::decode(bytes)? });
        }
        let optional = |bytes: &mut &[u8]| match take_count(bytes)? {
            0 => Some(None),
            _ => Some(Some(Source::decode(bytes)?)),
        };
        let issued = optional(bytes)?.map(|source| Pair { chain: source.clone(), key: source });
        Some(Material { pairs, issued, authorities: optional(bytes)?, revoked: optional(bytes)? })
    }
}

impl Source {
    /// The name of the certificate of ACME in this file.
    pub(super) fn name_of_issued(path: &Path) -> String {
        format!("{ISSUED} {}", path.display())
    }

    fn read(option: &str, path: &Path) -> Result<Source, String> {
        let shown = path.display();
        let failed = |failure: &dyn fmt::Display, hint: &str| {
            format!("{option}: cannot read {shown}{hint}: {failure}")
        };
        let hint = |failure: &std::io::Error| match failure.kind() {
            std::io::ErrorKind::NotFound => "; correct the path, or create the file",
            std::io::ErrorKind::PermissionDenied => {
                "; give the user who starts the server permission to read it"
            }
            _ => "",
        };
        let size = fs::metadata(path).map_err(|failure| failed(&failure, hint(&failure)))?;
        if !size.is_file() || size.len() > MAX_FILE_BYTES {
            return Err(failed(&"it is not a file of at most 32 MiB", ""));
        }
        let bytes = fs::read(path).map_err(|failure| failed(&failure, hint(&failure)))?;
        Ok(Source { name: format!("{option} {shown}"), bytes })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        for part in [self.name.as_bytes(), &self.bytes] {
            put_count(out, part.len());
            out.extend_from_slice(part);
        }
    }

    fn decode(bytes: &mut &[u8]) -> Option<Source> {
        let mut part = || {
            let count = take_count(bytes)?;
            let (part, rest) = bytes.split_at_checked(count)?;
            *bytes = rest;
            Some(part.to_vec())
        };
        Some(Source { name: String::from_utf8(part()?).ok()?, bytes: part()? })
    }
}

/// A number of at most [`MAX_FILE_BYTES`], in four bytes.
fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("files are limited to 32 MiB");
    out.extend_from_slice(&count.to_le_bytes());
}

fn take_count(bytes: &mut &[u8]) -> Option<usize> {
    let (count, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    usize::try_from(u32::from_le_bytes(*count)).ok()
}
