//! The listening sockets. They outlive the workers, survive a reload that keeps their addresses,
//! and are passed to a new master, so no connection is refused meanwhile.
//!
//! Each socket is shared by the deployments that have its address. When the last of these
//! deployments is dropped, the socket is closed and its file removed.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use log::{debug, info, warn};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::config::{Bind, Purpose, Settings};
use crate::net::{self, BindOptions, Listener, SocketFile};
use crate::sys::descriptors;

/// The variable that names the descriptors a new master inherits: `3=127.0.0.1:80,4=unix:/s`. The
/// addresses are those of the old master's options, percent-encoded as far as [`ENCODED`] says.
pub(super) const INHERITED_SOCKETS: &str = "RUSTWSGI_INHERITED_SOCKETS";

/// The same for the socket of the metrics address.
pub(super) const INHERITED_METRICS: &str = "RUSTWSGI_INHERITED_METRICS";

/// The same for the control socket.
pub(super) const INHERITED_CONTROL: &str = "RUSTWSGI_INHERITED_CONTROL";

/// Characters that a path may contain and an entry of the variable may not.
const ENCODED: &AsciiSet = &CONTROLS.add(b',').add(b'%');

/// The listening sockets of one deployment, in the order of its addresses.
#[derive(Debug, Default)]
pub(super) struct Sockets(Vec<Service>);

/// A socket, and what a deployment uses it for.
#[derive(Debug, Clone)]
struct Service {
    entry: Arc<Entry>,
    purpose: Purpose,
    is_https: bool,
}

#[derive(Debug)]
struct Entry {
    /// The address as the option gives it.
    bind: Bind,
    listener: Listener,
    /// Opened by this process, and not shared with another server.
    owned: AtomicBool,
}

impl Entry {
    fn new(bind: &Bind, listener: Listener, owned: bool) -> Arc<Entry> {
        Arc::new(Entry { bind: bind.clone(), listener, owned: AtomicBool::new(owned) })
    }
}

impl Service {
    /// A socket that no deployment uses yet.
    fn unused(entry: Arc<Entry>) -> Service {
        Service { entry, purpose: Purpose::Application, is_https: false }
    }
}

impl Sockets {
    /// Opens sockets for the addresses of the settings, with `binds` as those of `--bind`. Reuses a
    /// socket of `open` that has the address.
    ///
    /// # Errors As [`net::bind`]. Sockets that were opened before the error are closed.
    pub(super) fn open(
        binds: &[Bind],
        settings: &Settings,
        open: &Sockets,
    ) -> anyhow::Result<Sockets> {
        let mut available: Vec<_> = open.entries().cloned().collect();
        for (bind, purpose) in settings.addresses(binds).filter(|(bind, _)| !open.has(bind)) {
            for mut listener in net::bind(bind, settings.into())? {
                listener.set_purpose(purpose, settings.is_https(purpose));
                info!(target: "server.listening", "Listening at: {}", listener.url());
                available.push(Entry::new(bind, listener, !matches!(bind, Bind::Fd(_))));
            }
        }
        let mut take = |(bind, purpose): (&Bind, Purpose)| {
            let at = available.iter().position(|entry| entry.bind == *bind)?;
            let is_https = settings.is_https(purpose);
            Some(Service { entry: available.remove(at), purpose, is_https })
        };
        Ok(Sockets(settings.addresses(binds).filter_map(&mut take).collect()))
    }

    /// The addresses, if all of them are descriptors that another process has passed, apart from
    /// those that the options beside `--bind` name.
    pub(super) fn passed_descriptors(&self, settings: &Settings) -> Option<Vec<Bind>> {
        let is_other = |bind: &&Bind| settings.addresses(&[]).any(|(other, _)| other == *bind);
        let binds = self.entries().map(|entry| &entry.bind).filter(|bind| !is_other(bind));
        let binds: Vec<Bind> = binds.cloned().collect();
        let passed = binds.iter().all(|bind| matches!(bind, Bind::Fd(_)));
        (passed && !binds.is_empty()).then_some(binds)
    }

    fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.0.iter().map(|service| &service.entry)
    }

    /// Whether one of them has this address.
    pub(super) fn has(&self, bind: &Bind) -> bool {
        self.entries().any(|entry| entry.bind == *bind)
    }

    /// Opens one socket of the master, unless it is among the `inherited` ones.
    ///
    /// # Errors
    /// As [`net::bind`].
    pub(super) fn open_one(
        bind: &Bind,
        options: BindOptions,
        inherited: Sockets,
    ) -> anyhow::Result<Sockets> {
        if inherited.has(bind) {
            return Ok(inherited);
        }
        let listeners = net::bind(bind, options)?;
        let owned = !matches!(bind, Bind::Fd(_));
        let entries = listeners.into_iter().map(|listener| Entry::new(bind, listener, owned));
        Ok(Sockets(entries.map(Service::unused).collect()))
    }

    /// The sockets that an old master passes to this process by this variable.
    pub(super) fn inherited(variable: &str, backlog: u32) -> Sockets {
        let mut sockets = Sockets::default();
        let Ok(text) = std::env::var(variable) else { return sockets };
        for (fd, bind) in decode(&text) {
            match net::bind(&Bind::Fd(fd), BindOptions::with_backlog(backlog)) {
                Ok(listeners) => {
                    // The listener is a duplicate, so the original is closed. No other code knows
                    // its number.
                    drop(descriptors::adopt(fd));
                    for listener in listeners {
                        let url = listener.url();
                        if variable == INHERITED_SOCKETS {
                            info!(target: "server.listening", "Listening at: {url} (inherited)");
                        }
                        sockets.0.push(Service::unused(Entry::new(&bind, listener, false)));
                    }
                }
                Err(error) => warn!(
                    target: "socket.not_inherited",
                    "Cannot use the inherited socket {bind}, opening it again: {error:#}"
                ),
            }
        }
        sockets
    }

    /// The value of [`INHERITED_SOCKETS`] for a new master that gets these descriptors of the
    /// sockets.
    pub(super) fn encode_for_successor(&self, fds: &[RawFd]) -> OsString {
        let entry = |(fd, entry): (&RawFd, &Arc<Entry>)| {
            format!("{fd}={}", utf8_percent_encode(&entry.bind.to_string(), ENCODED))
        };
        let entries: Vec<String> = fds.iter().zip(self.entries()).map(entry).collect();
        entries.join(",").into()
    }

    /// The URLs of all sockets.
    pub(super) fn urls(&self) -> String {
        let urls: Vec<String> = self.entries().map(|entry| entry.listener.url()).collect();
        urls.join(", ")
    }

    /// Keeps the sockets of other deployments open along with these.
    pub(super) fn keep(&mut self, others: &Sockets) {
        for other in &others.0 {
            if !self.entries().any(|entry| Arc::ptr_eq(entry, &other.entry)) {
                self.0.push(other.clone());
            }
        }
    }

    /// Sets the length of the accept queues.
    pub(super) fn set_backlog(&self, backlog: u32) {
        self.entries().for_each(|entry| entry.listener.set_backlog(backlog));
    }

    /// Refuses connections that are not in the accept queue yet, as the server stops.
    pub(super) fn refuse_new_connections(&self) {
        for entry in self.entries().filter(|entry| entry.owned.load(Relaxed)) {
            if let Err(error) = entry.listener.refuse_new_connections() {
                debug!("{}: {error}", entry.listener.url());
            }
        }
    }

    /// Leaves the sockets, and the files of unix sockets, to another process.
    pub(super) fn disown(&self) {
        for entry in self.entries() {
            entry.listener.disown();
            entry.owned.store(false, Relaxed);
        }
    }

    /// Takes back sockets that were left to a process that has exited.
    pub(super) fn reclaim(&self) {
        self.entries().for_each(|entry| entry.listener.reclaim());
    }

    /// Takes the sockets over from a process that has exited.
    pub(super) fn take_ownership(&self) {
        for entry in self.entries().filter(|entry| !matches!(entry.bind, Bind::Fd(_))) {
            entry.listener.own();
            entry.owned.store(true, Relaxed);
        }
    }

    /// Removes the files of the unix sockets that this process owns.
    pub(super) fn remove_files(&self) {
        self.entries().for_each(|entry| entry.listener.remove_file());
    }

    pub(super) fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.entries().map(|entry| &entry.listener)
    }

    /// The listeners, for a worker. No other deployment may exist in its process.
    pub(super) fn into_listeners(self) -> Vec<Listener> {
        let unshared = |Service { entry, purpose, is_https }| {
            let mut listener = Arc::into_inner(entry)?.listener;
            listener.set_purpose(purpose, is_https);
            Some(listener)
        };
        let unshared = self.0.into_iter().map(unshared).collect::<Option<Vec<_>>>();
        unshared.expect("all other deployments were dropped")
    }

    /// Duplicates that an exec keeps open.
    pub(super) fn inheritable_duplicates(&self) -> std::io::Result<Vec<OwnedFd>> {
        self.listeners()
            .map(|listener| {
                let copy = descriptors::duplicate(listener.fd().as_raw_fd())?;
                rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty())?;
                Ok(copy)
            })
            .collect()
    }
}

/// The files of the unix sockets that an old master passes to this process, whether this one uses
/// them or not.
pub(super) fn inherited_files() -> Vec<SocketFile> {
    let variables = [INHERITED_SOCKETS, INHERITED_METRICS, INHERITED_CONTROL];
    let texts: Vec<_> = variables.iter().filter_map(|name| std::env::var(name).ok()).collect();
    let passed = texts.iter().flat_map(|text| decode(text));
    let found = passed.filter_map(|(_, bind)| match bind {
        Bind::Unix(path) => SocketFile::find(&path),
        _ => None,
    });
    found.collect()
}

/// Parses the value of [`INHERITED_SOCKETS`], skipping malformed entries.
fn decode(text: &str) -> Vec<(RawFd, Bind)> {
    let entry = |entry: &str| {
        let (fd, bind) = entry.split_once('=')?;
        let bind = percent_decode_str(bind).decode_utf8().ok()?;
        Some((fd.parse().ok().filter(|&fd: &RawFd| fd >= 3)?, bind.parse().ok()?))
    };
    text.split(',').filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        crate::config::parse_api(&[]).unwrap()
    }

    fn binds(addresses: &[&str]) -> Vec<Bind> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    fn fds(sockets: &Sockets) -> Vec<RawFd> {
        sockets.listeners().map(|listener| listener.fd().as_raw_fd()).collect()
    }

    #[test]
    fn encoded_sockets_are_decoded_to_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = format!("unix:{}/a,7=b%2C\u{e9}", dir.path().display());
        let binds = binds(&["127.0.0.1:0", &path]);
        let sockets = Sockets::open(&binds, &settings(), &Sockets::default()).unwrap();
        let fds = fds(&sockets);
        let text = sockets.encode_for_successor(&fds).into_string().unwrap();
        let expected: Vec<_> = fds.into_iter().zip(binds).collect();
        assert_eq!(decode(&text), expected);
    }

    #[test]
    fn malformed_entries_are_left_out() {
        assert_eq!(decode(""), []);
        assert_eq!(decode("x=127.0.0.1:1,1=127.0.0.1:1,-3=:80,7,8="), []);
    }

    #[test]
    fn socket_is_closed_with_the_last_deployment_that_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        let address = |path: &std::path::Path| format!("unix:{}", path.display());
        let open = |addresses: &[&str], known: &Sockets| {
            Sockets::open(&binds(addresses), &settings(), known).unwrap()
        };
        let first = open(&[&address(&a)], &Sockets::default());
        let second = open(&[&address(&b), &address(&a)], &first);
        assert_eq!(fds(&first)[0], fds(&second)[1], "the same socket");
        drop(first);
        assert!(a.exists() && b.exists());
        let third = open(&[&address(&b)], &second);
        drop(second);
        assert!(!a.exists() && b.exists());
        assert_eq!(third.into_listeners().len(), 1);
        assert!(!b.exists());
    }

    #[test]
    fn failed_open_closes_what_it_has_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let addresses = [format!("unix:{}", path.display()), "unix:/no/such/dir/b".to_owned()];
        let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        assert!(Sockets::open(&binds(&addresses), &settings(), &Sockets::default()).is_err());
        assert!(!path.exists());
    }
}
