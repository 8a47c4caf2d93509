//! Keeps the TLS of a server current: notices when a file has changed, and makes new keys for
//! session tickets. It belongs to the process that may read the files, which is the master, or the
//! only process of the server.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, info};
use rustls::crypto::aws_lc_rs::default_provider;

use super::certificates::load;
use super::challenges::Challenges;
use super::material::{Material, Pair, Source};
use super::server::Tls;
use super::tickets::{ROTATION_INTERVAL, TicketKeys};
use crate::config::{AcmeSettings, TlsSettings};

/// How often the files are checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// The certificates and keys in use, and when to look for newer ones.
#[derive(Debug)]
pub struct Renewal {
    settings: TlsSettings,
    tls: Arc<Tls>,
    material: Material,
    keys: TicketKeys,
    /// What the files looked like before they were last read.
    stamps: Vec<Option<Stamp>>,
    next_check: Instant,
    next_rotation: Instant,
}

/// What changes with the content of a file: device and inode, size, times of its content and
/// status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp([i64; 7]);

impl Renewal {
    /// Reads the files, which are those of relative paths in the current directory. `predecessor`
    /// is the one that this one replaces: its sessions can be resumed.
    ///
    /// # Errors
    /// A sentence that names the option and the file.
    pub fn read(settings: &TlsSettings, predecessor: Option<&Renewal>) -> Result<Renewal, String> {
        let settings = absolute(settings);
        let now = Instant::now();
        // Before the files are read: a later change differs from it.
        let stamps = stamps(&settings);
        let issued = predecessor.and_then(|renewal| renewal.material.issued.as_ref());
        let material = read_usable(&settings, issued)?;
        let (keys, next_rotation) = match predecessor {
            Some(renewal) => (renewal.keys.clone(), renewal.next_rotation),
            None => (TicketKeys::new()?, now + ROTATION_INTERVAL),
        };
        let challenges = predecessor.and_then(|renewal| renewal.tls.challenges().cloned());
        let challenges = match settings.acme.is_enabled() {
            true => challenges.map_or_else(new_challenges, |known| Ok(Some(known)))?,
            false => None,
        };
        let tls = Arc::new(Tls::new(&material, &keys, &settings, challenges)?);
        let next_check = now + CHECK_INTERVAL;
        Ok(Renewal { settings, tls, material, keys, stamps, next_check, next_rotation })
    }

    /// The TLS of this process, which renewals change.
    pub fn tls(&self) -> &Arc<Tls> {
        &self.tls
    }

    /// Whether a client can be given a certificate.
    pub fn has_certificate(&self) -> bool {
        self.material.all_pairs().next().is_some()
    }

    /// Reads the files at once: one is known to have changed.
    pub fn check_now(&mut self) {
        self.next_check = Instant::now();
    }

    /// When to call [`Renewal::renew`].
    pub fn due(&self) -> Instant {
        self.next_check.min(self.next_rotation)
    }

    /// Reads files that have changed, and makes new ticket keys when it is time. Returns whether
    /// other processes need [`Renewal::encode`]. Files that cannot be used are logged once, and
    /// those in use stay.
    pub fn renew(&mut self, now: Instant) -> bool {
        let is_renewed = self.next_check <= now && self.read_changed(now);
        let is_rotated = self.next_rotation <= now && self.rotate(now);
        is_renewed || is_rotated
    }

    fn read_changed(&mut self, now: Instant) -> bool {
        self.next_check = now + CHECK_INTERVAL;
        let stamps = stamps(&self.settings);
        if stamps == self.stamps {
            return false;
        }
        self.stamps = stamps;
        let issued = self.material.issued.as_ref();
        let read = read_usable(&self.settings, issued).and_then(|material| {
            let is_new = material != self.material;
            if is_new {
                self.tls.replace(&material, &self.keys)?;
                self.material = material;
            }
            Ok(is_new)
        });
        match &read {
            Ok(true) => info!(
                target: "tls.renewed",
                "Certificates renewed: new connections use them"
            ),
            Ok(false) => {}
            Err(reason) => error!(
                target: "tls.not_renewed",
                "Cannot use the certificates that have changed, keeping the old ones: {reason}"
            ),
        }
        read.unwrap_or(false)
    }

    fn rotate(&mut self, now: Instant) -> bool {
        self.next_rotation = now + ROTATION_INTERVAL;
        let mut keys = self.keys.clone();
        let replaced = keys.rotate().and_then(|()| self.tls.replace(&self.material, &keys));
        match replaced {
            Ok(()) => self.keys = keys,
            Err(reason) => error!(
                target: "tls.tickets",
                "Cannot make new keys for session tickets, keeping the old ones: {reason}"
            ),
        }
        true
    }

    /// Certificates and keys as bytes, for [`Tls::replace_encoded`] in another process.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.material.encode(&mut out);
        self.keys.encode(&mut out);
        out
    }
}

/// Reads all files. A certificate of ACME that is missing or cannot be used is no mistake of the
/// operator, and another one will be ordered: until then `issued` of the same file stays in use.
fn read_usable(settings: &TlsSettings, issued: Option<&Pair>) -> Result<Material, String> {
    let mut material = Material::read(settings)?;
    let is_usable = match &material.issued {
        Some(pair) => load(pair, &default_provider()).map(drop).inspect_err(|reason| {
            error!(
                target: "acme.cache_unusable",
                "Cannot use the certificate in the ACME cache, ordering another one: {reason}"
            );
        }),
        None => Err(String::new()),
    };
    if is_usable.is_err() {
        let name = settings.acme.certificate_file().map(|path| Source::name_of_issued(&path));
        material.issued = issued.filter(|pair| Some(&pair.chain.name) == name.as_ref()).cloned();
    }
    Ok(material)
}

fn new_challenges() -> Result<Option<Arc<Challenges>>, String> {
    let new = Challenges::new().map(|challenges| Some(Arc::new(challenges)));
    new.map_err(|failure| format!("--acme-domain: cannot keep challenges in memory: {failure}"))
}

/// The working directory of the process may change later.
fn absolute(settings: &TlsSettings) -> TlsSettings {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    TlsSettings {
        certfiles: settings.certfiles.iter().map(absolute).collect(),
        keyfiles: settings.keyfiles.iter().map(absolute).collect(),
        ca_certs: settings.ca_certs.as_ref().map(absolute),
        ca_crl: settings.ca_crl.as_ref().map(absolute),
        acme: AcmeSettings {
            cache: settings.acme.cache.as_ref().map(absolute),
            ..settings.acme.clone()
        },
        ..settings.clone()
    }
}

/// `None` for a file that is missing, as while it is replaced.
fn stamps(settings: &TlsSettings) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        let file = std::fs::metadata(path).ok()?;
        Some(Stamp([
            file.dev() as i64,
            file.ino() as i64,
            file.size() as i64,
            file.mtime(),
            file.mtime_nsec(),
            file.ctime(),
            file.ctime_nsec(),
        ]))
    };
    let issued = settings.acme.certificate_file();
    settings.files().chain(&issued).map(stamp).collect()
}
