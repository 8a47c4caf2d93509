//! The control socket (`--control-socket`): takes commands of `rustwsgi ctl` for the master, and
//! sends their outcomes.
//!
//! Who may connect is decided by the mode of the socket's file. The master carries the commands
//! out; those that take long have their outcome later.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Instant;

use anyhow::anyhow;
use log::info;

use super::control_client::ControlClient;
use super::endpoint::{Client, Endpoint, Served};
use crate::config::{Bind, Settings};
use crate::control::{Command, Outcome};
use crate::net::BindOptions;
use crate::supervisor::sockets::{INHERITED_CONTROL, Sockets};
use crate::sys::peer::PeerProcess;

/// A command of a client, which waits for its outcome.
#[derive(Debug)]
pub(in crate::supervisor) struct Request {
    /// The connection.
    pub(in crate::supervisor) client: u64,
    /// The process of the client, if the system knows it.
    pub(in crate::supervisor) peer: Option<PeerProcess>,
    pub(in crate::supervisor) command: Command,
}

/// The events that clients wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervisor) enum Awaited {
    /// The end of the reload in progress.
    Reload,
    /// The end of the server.
    End,
}

/// The socket and its connections.
#[derive(Debug)]
pub(super) struct ControlSocket {
    pub(super) endpoint: Endpoint<ControlClient>,
    /// Clients whose commands take long.
    waiting: Vec<(u64, Awaited)>,
    /// The number of the next connection.
    next_id: u64,
}

impl ControlSocket {
    /// Binds the socket, or takes it from the old master.
    ///
    /// # Errors
    /// As [`net::bind`](crate::net::bind).
    pub(super) fn open(path: &Path, settings: &Settings) -> anyhow::Result<ControlSocket> {
        let options = BindOptions {
            mode: settings.observability.control_socket_mode,
            ..BindOptions::with_backlog(settings.backlog)
        };
        let inherited = Sockets::inherited(INHERITED_CONTROL, settings.backlog);
        let bind = Bind::Unix(path.to_owned());
        let sockets = Sockets::open_one(&bind, options, inherited).map_err(|failure| {
            // The hint names the option of the application's addresses.
            anyhow!("{}", format!("--control-socket: {failure:#}").replace("--bind", "path"))
        })?;
        info!(target: "control.listening", "Control socket at: {}", path.display());
        Ok(ControlSocket { endpoint: Endpoint::new(sockets), waiting: Vec::new(), next_id: 0 })
    }

    /// Does what is possible without waiting, and returns the commands that have come: one of an
    /// old and one of a new client at most.
    pub(super) fn turn(&mut self, accepts: bool) -> Vec<Request> {
        let now = Instant::now();
        let mut requests = Vec::new();
        let next_id = std::cell::Cell::new(self.next_id);
        let make = |socket| {
            let id = next_id.replace(next_id.get() + 1);
            ControlClient::new(id, socket, now)
        };
        let serve = |client: &mut ControlClient| {
            match client.turn(now) {
                Ok(Some(line)) => match Command::parse(&line) {
                    Ok(command) => {
                        requests.push(Request { client: client.id, peer: client.peer, command });
                        // Others come in the next turns, behind signals and messages.
                        Served::Last
                    }
                    // Something else than a client of this protocol, which may go on with anything.
                    Err(reason) => Served::of(client.reply(&Err(reason), true, now)),
                },
                Ok(None) => Served::Open,
                Err(_) => Served::Closed,
            }
        };
        self.endpoint.turn(now, accepts, make, serve);
        self.next_id = next_id.get();
        let clients = &self.endpoint.clients;
        self.waiting.retain(|(id, _)| clients.iter().any(|client| client.id == *id));
        requests
    }

    /// Sends the outcome of a command to its client, unless that has disconnected.
    pub(super) fn reply(&mut self, client: u64, outcome: &Outcome) {
        let now = Instant::now();
        self.endpoint
            .clients
            .retain_mut(|known| known.id != client || known.reply(outcome, false, now).is_ok());
    }

    /// Lets a client wait for an event.
    pub(super) fn wait(&mut self, client: u64, awaited: Awaited) {
        self.waiting.push((client, awaited));
    }

    /// Sends the outcome to all clients that wait for this event.
    pub(super) fn notify(&mut self, event: Awaited, outcome: &Outcome) {
        let (due, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(_, awaited)| *awaited == event);
        self.waiting = waiting;
        let due: Vec<(u64, Awaited)> = due;
        due.into_iter().for_each(|(client, _)| self.reply(client, outcome));
    }

    /// The connection of a client, unless it has gone.
    pub(super) fn connection(&self, client: u64) -> Option<BorrowedFd<'_>> {
        let known = self.endpoint.clients.iter().find(|known| known.id == client);
        known.map(|client| client.interest().0)
    }

    /// Leaves a client to another process, which has its connection as well.
    pub(super) fn release(&mut self, client: u64) {
        self.endpoint.clients.retain(|known| known.id != client);
    }
}
