//! The directory that outlives the server: the account and its key, the certificate and its key,
//! the state of the schedule, and a lock.
//!
//! Only the user who starts the server may read it (mode 0700, files 0600). A file is replaced as a
//! whole, so that a crash leaves the old or the new one. What cannot be read counts as missing, as
//! all of it can be ordered anew.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use rustix::fs::FlockOperation;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::schedule::State;
use crate::config::AcmeSettings;

/// More than any of the files has.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The cache directory.
#[derive(Debug)]
pub struct Cache {
    directory: PathBuf,
    certificate: PathBuf,
    state: PathBuf,
    account: PathBuf,
}

impl Cache {
    /// Opens the directory, and makes it if it does not exist.
    ///
    /// # Errors
    /// A sentence that says what to do: there is no place for it, it cannot be made, or other users
    /// may use it.
    pub fn open(settings: &AcmeSettings) -> Result<Cache, String> {
        let paths = (&settings.cache, settings.certificate_file(), settings.state_file());
        let (Some(directory), Some(certificate), Some(state)) = paths else {
            return Err("--acme-cache: there is no home directory for the default; name a \
                 directory that outlives the server"
                .to_owned());
        };
        let shown = directory.display();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        let found = made.and_then(|()| std::fs::metadata(directory));
        let found = found.map_err(|failure| {
            format!("--acme-cache: cannot make {shown}; name another directory: {failure}")
        })?;
        if found.mode() & 0o077 != 0 {
            return Err(format!(
                "--acme-cache: other users may use {shown}, which will have private keys; name a \
                 directory of its own, or run: chmod 700 {shown}"
            ));
        }
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(format!(
                "--acme-cache: {shown} belongs to another user; name another directory"
            ));
        }
        // Another authority knows nothing of an account.
        let name = digest(&SHA256, settings.directory.as_bytes());
        let name: String = name.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let account = directory.join(format!("account-{name}.json"));
        Ok(Cache { directory: directory.clone(), certificate, state, account })
    }

    /// Locks the cache for this process, until the file is closed. `None` if another one has it.
    ///
    /// # Errors
    /// As the system does.
    pub(super) fn lock(&self) -> io::Result<Option<File>> {
        let path = self.directory.join("lock");
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    /// The chain and its key, in the PEM format.
    pub fn certificate(&self) -> Option<Vec<u8>> {
        read(&self.certificate).ok()
    }

    pub(super) fn store_certificate(&self, pem: &str) -> io::Result<()> {
        self.replace(&self.certificate, pem.as_bytes())
    }

    /// The state; the initial one if there is none, or none that can be read.
    pub fn state(&self) -> State {
        parse(&self.state).ok().flatten().unwrap_or_default()
    }

    pub(super) fn store_state(&self, state: &State) -> io::Result<()> {
        self.replace(&self.state, &to_json(state)?)
    }

    /// The account, if there is one.
    ///
    /// # Errors
    /// A sentence, if the file cannot be used.
    pub(super) fn account<T: DeserializeOwned>(&self) -> Result<Option<T>, String> {
        parse(&self.account).map_err(|failure| {
            format!("cannot use the ACME account in {}: {failure}", self.account.display())
        })
    }

    pub(super) fn store_account(&self, account: &impl Serialize) -> io::Result<()> {
        self.replace(&self.account, &to_json(account)?)
    }

    /// Writes another file, and moves it over the old one once it is on the disk.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        if content.len() as u64 > MAX_FILE_BYTES {
            // It could not be read, and so would be ordered again.
            return Err(ErrorKind::FileTooLarge.into());
        }
        // With mode 0600.
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.directory)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(&self.directory)?.sync_all()
    }
}

fn to_json(value: &impl Serialize) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec_pretty(value)?)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // A FIFO would block.
    let found = std::fs::metadata(path)?;
    if !found.is_file() || found.len() > MAX_FILE_BYTES {
        return Err(ErrorKind::InvalidData.into());
    }
    std::fs::read(path)
}

/// `None` for a file that does not exist.
fn parse<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(failure) if failure.kind() == ErrorKind::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    fn settings(cache: &Path) -> AcmeSettings {
        AcmeSettings {
            domains: vec!["a.example".to_owned()],
            cache: Some(cache.to_owned()),
            ..AcmeSettings::default()
        }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn files_are_private_and_replaced_as_a_whole() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("acme");
        let cache = Cache::open(&settings(&path)).unwrap();
        for pem in ["first", "second"] {
            cache.store_certificate(pem).unwrap();
            assert_eq!(cache.certificate().as_deref(), Some(pem.as_bytes()));
        }
        let state = State { failures: 3, ..State::default() };
        cache.store_state(&state).unwrap();
        assert_eq!(cache.state(), state);
        assert_eq!((mode(&path), mode(&path.join("a.example.pem"))), (0o700, 0o600));
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 2, "no temporary file stays");
    }

    #[test]
    fn file_that_could_not_be_read_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&settings(&directory.path().join("acme"))).unwrap();
        let largest = "x".repeat(MAX_FILE_BYTES as usize);
        cache.store_certificate(&largest).unwrap();
        assert!(cache.store_certificate(&format!("{largest}x")).is_err());
        assert_eq!(cache.certificate().map(|pem| pem.len()), Some(largest.len()));
    }

    #[test]
    fn directory_that_others_may_use_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o750)).unwrap();
        let refused = Cache::open(&settings(directory.path())).unwrap_err();
        assert!(refused.starts_with("--acme-cache: other users may use "), "{refused}");
    }

    #[test]
    fn garbage_counts_as_missing() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&settings(&directory.path().join("acme"))).unwrap();
        std::fs::write(&cache.state, b"{\"failures\": \"many\"").unwrap();
        std::fs::write(&cache.account, b"\0").unwrap();
        std::fs::create_dir(&cache.certificate).unwrap();
        assert_eq!(cache.state(), State::default());
        assert!(cache.account::<State>().is_err());
        assert_eq!(cache.certificate(), None);
    }

    #[test]
    fn lock_belongs_to_one_owner() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&settings(&directory.path().join("acme"))).unwrap();
        let first = cache.lock().unwrap();
        assert!(first.is_some() && cache.lock().unwrap().is_none());
        drop(first);
        // A child that another test forks has a copy of the descriptor for a moment.
        while cache.lock().unwrap().is_none() {
            std::thread::yield_now();
        }
    }
}
