//! What is listened on. The sockets outlive the workers, survive a reload that does not change their
//! addresses, and can be handed to another master, so that no connection is ever refused meanwhile.

use std::ffi::OsString;
use std::os::fd::{OwnedFd, RawFd};

use log::{debug, info, warn};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::config::{Bind, Settings};
use crate::net::{self, Listener};
use crate::sys::descriptors;

/// The variable that tells a new master which descriptors listen on what: `3=127.0.0.1:80,4=unix:/s`,
/// the addresses as they stand in the old master's options, with [`ESCAPED`] as `%2C`.
pub(super) const HANDOVER: &str = "RUSTWSGI_INHERITED_SOCKETS";

/// What a path may hold, and an entry may not.
const ESCAPED: &AsciiSet = &CONTROLS.add(b',').add(b'%');

/// The listening sockets.
#[derive(Debug, Default)]
pub(super) struct Sockets(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    /// The address it was asked for under.
    bind: Bind,
    listener: Listener,
    /// Opened by this process, and not shared with another server.
    ours: bool,
}

impl Sockets {
    /// Opens sockets for all addresses, except those that are known already.
    ///
    /// # Errors
    /// As [`net::bind`].
    pub(super) fn open(
        binds: &[Bind],
        settings: &Settings,
        known: &mut Sockets,
    ) -> anyhow::Result<Sockets> {
        let umask = settings.processes.socket_umask();
        let mut opened = Vec::new();
        for bind in binds.iter().filter(|bind| !known.has(bind)) {
            for listener in net::bind(bind, settings.backlog, umask)? {
                info!("Listening at: {}", listener.url());
                let ours = !matches!(bind, Bind::Fd(_));
                opened.push(Entry { bind: bind.clone(), listener, ours });
            }
        }
        // Only now, when nothing can fail any more, in the order of the addresses.
        for entry in &known.0 {
            entry.listener.set_backlog(settings.backlog);
        }
        known.0.append(&mut opened);
        let mut sockets = Vec::new();
        for bind in binds {
            if let Some(at) = known.0.iter().position(|entry| entry.bind == *bind) {
                sockets.push(known.0.remove(at));
            }
        }
        Ok(Sockets(sockets))
    }

    /// The addresses, if all of them are descriptors that somebody has passed.
    pub(super) fn descriptors(&self) -> Option<Vec<Bind>> {
        let binds: Vec<Bind> = self.0.iter().map(|entry| entry.bind.clone()).collect();
        let passed = binds.iter().all(|bind| matches!(bind, Bind::Fd(_)));
        (passed && !binds.is_empty()).then_some(binds)
    }

    fn has(&self, bind: &Bind) -> bool {
        self.0.iter().any(|entry| entry.bind == *bind)
    }

    /// What an old master has left open for this process.
    pub(super) fn inherited(backlog: u32) -> Sockets {
        let mut sockets = Sockets::default();
        let Ok(text) = std::env::var(HANDOVER) else { return sockets };
        for (fd, bind) in parse(&text) {
            match net::bind(&Bind::Fd(fd), backlog, 0) {
                Ok(listeners) => {
                    // The duplicate is ours; the descriptor that was passed has served its purpose.
                    close(fd);
                    for listener in listeners {
                        info!("Listening at: {} (inherited)", listener.url());
                        sockets.0.push(Entry { bind: bind.clone(), listener, ours: false });
                    }
                }
                Err(error) => warn!("an inherited socket cannot be used: {error:#}"),
            }
        }
        sockets
    }

    /// The variable's value for another master, if these descriptors are the sockets'.
    pub(super) fn handover(&self, fds: &[RawFd]) -> OsString {
        let entry = |(fd, entry): (&RawFd, &Entry)| {
            format!("{fd}={}", utf8_percent_encode(&entry.bind.to_string(), ESCAPED))
        };
        let entries: Vec<String> = fds.iter().zip(&self.0).map(entry).collect();
        entries.join(",").into()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Keeps the first `at`; returns the others.
    pub(super) fn split_off(&mut self, at: usize) -> Sockets {
        Sockets(self.0.split_off(at))
    }

    /// Keeps other sockets along with these.
    pub(super) fn absorb(&mut self, others: Sockets) {
        self.0.extend(others.0);
    }

    /// The server ends: who is not yet waiting to be accepted cannot begin to.
    pub(super) fn refuse_newcomers(&self) {
        for entry in self.0.iter().filter(|entry| entry.ours) {
            if let Err(error) = entry.listener.refuse_newcomers() {
                debug!("{}: {error}", entry.listener.url());
            }
        }
    }

    /// Leaves the sockets, and the files of unix sockets, to another process.
    pub(super) fn disown(&mut self) {
        for entry in &mut self.0 {
            entry.listener.disown();
            entry.ours = false;
        }
    }

    /// Removes the files of unix sockets that are this process's.
    pub(super) fn remove_files(&self) {
        self.0.iter().for_each(|entry| entry.listener.remove_file());
    }

    /// Takes them over from a process that is gone.
    pub(super) fn own(&mut self) {
        for entry in &mut self.0 {
            if !matches!(entry.bind, Bind::Fd(_)) {
                entry.listener.own();
                entry.ours = true;
            }
        }
    }

    pub(super) fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.0.iter().map(|entry| &entry.listener)
    }

    /// The listeners alone, for a worker.
    pub(super) fn into_listeners(self) -> Vec<Listener> {
        self.0.into_iter().map(|entry| entry.listener).collect()
    }

    /// Duplicates that an exec does not close.
    pub(super) fn duplicates(&self) -> std::io::Result<Vec<OwnedFd>> {
        self.0
            .iter()
            .map(|entry| {
                let copy = rustix::io::fcntl_dupfd_cloexec(entry.listener.fd(), 3)?;
                rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty())?;
                Ok(copy)
            })
            .collect()
    }
}

fn close(fd: RawFd) {
    // Only the variable that names it makes it known.
    drop(descriptors::adopt(fd));
}

fn parse(text: &str) -> Vec<(RawFd, Bind)> {
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
    use std::os::fd::AsRawFd;

    #[test]
    fn a_handover_is_read_back() {
        let settings = crate::config::parse_api(&[]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = format!("unix:{}/a,7=b%2C\u{e9}", dir.path().display());
        let binds = ["127.0.0.1:0".parse().unwrap(), path.parse().unwrap()];
        let sockets = Sockets::open(&binds, &settings, &mut Sockets::default()).unwrap();
        let fds: Vec<RawFd> =
            sockets.0.iter().map(|entry| entry.listener.fd().as_raw_fd()).collect();
        let text = sockets.handover(&fds).into_string().unwrap();
        let [tcp, unix] = binds;
        assert_eq!(parse(&text), [(fds[0], tcp), (fds[1], unix)]);
    }

    #[test]
    fn nonsense_is_left_out() {
        assert_eq!(parse(""), []);
        assert_eq!(parse("x=127.0.0.1:1,1=127.0.0.1:1,-3=:80,7,8="), []);
    }
}
