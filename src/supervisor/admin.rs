//! What the master answers itself, without Python and without its workers: requests at the metrics
//! address (`--metrics`), and commands at the control socket (`--control-socket`).
//!
//! It runs on the master's only thread, between signals and messages. So a turn never waits, and
//! all that clients can use is bounded: connections, bytes of a request, time without progress, and
//! the time of one turn.
//!
//! - [`endpoint`] is a listener with its connections,
//! - [`metrics_address`] and its connections, [`http_client`]; [`answer`] is a response, [`routes`]
//!   are the paths, [`hosts`] the names by which they are asked for,
//! - [`control_socket`] and its connections, [`control_client`],
//! - [`metrics`] and [`status`] render the [`view`] of the server, with the [`usage`] of processes,
//! - [`ledger`] is what the master remembers of workers that have ended, [`inheritance`] what it
//!   passes to a new master.

mod answer;
mod control_client;
mod control_socket;
mod endpoint;
mod hosts;
mod http_client;
mod inheritance;
mod ledger;
mod metrics;
mod metrics_address;
mod routes;
mod status;
mod usage;
mod view;

use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::PollFlags;
use serde_json::Value;

use super::reloads::Reloads;
use super::sockets::{INHERITED_CONTROL, INHERITED_METRICS, Sockets};
use crate::config::Settings;
use crate::control::Outcome;
use control_socket::ControlSocket;
pub(super) use control_socket::{Awaited, Request};
pub(super) use ledger::{Ledger, Restart};
use metrics_address::MetricsAddress;
pub(super) use usage::Usage;
use view::View;
pub(super) use view::{CanaryView, Facts, WorkerView};

/// The metrics address, the control socket, and what the master remembers for them.
#[derive(Debug)]
pub(super) struct Admin {
    metrics: Option<MetricsAddress>,
    control: Option<ControlSocket>,
    pub(super) ledger: Ledger,
}

impl Admin {
    /// Opens the metrics address and the control socket, or takes them from the old master. `None`
    /// if there is neither.
    ///
    /// # Errors
    /// As [`net::bind`](crate::net::bind).
    pub(super) fn open(settings: &Settings) -> anyhow::Result<Option<Admin>> {
        let options = &settings.observability;
        // What the old master passes has its options, which this one may lack.
        let is_used = [
            (INHERITED_METRICS, options.metrics.is_some()),
            (INHERITED_CONTROL, options.control_socket.is_some()),
        ];
        for (variable, _) in is_used.into_iter().filter(|(_, is_used)| !is_used) {
            drop(Sockets::inherited(variable, settings.backlog));
        }
        if !options.is_enabled() {
            return Ok(None);
        }
        let metrics = options.metrics.as_ref().map(|bind| MetricsAddress::open(bind, settings));
        let metrics = metrics.transpose()?;
        let path = options.control_socket.as_deref();
        let control = path.map(|path| ControlSocket::open(path, settings)).transpose()?;
        Ok(Some(Admin { metrics, control, ledger: Ledger::new() }))
    }

    /// The sockets, each with the variable that names it to a new master.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (&'static str, &Sockets)> {
        let metrics = self.metrics.iter().map(|metrics| metrics.endpoint.sockets());
        let control = self.control.iter().map(|control| control.endpoint.sockets());
        let metrics = metrics.map(|sockets| (INHERITED_METRICS, sockets));
        metrics.chain(control.map(|sockets| (INHERITED_CONTROL, sockets)))
    }

    /// Whether there is a control socket.
    pub(super) fn takes_commands(&self) -> bool {
        self.control.is_some()
    }

    /// All counts, for a new master. To be called when the last worker has ended.
    pub(super) fn bequeath(&mut self, reloads: &mut Reloads) -> String {
        self.ledger.collect_lost_lines();
        inheritance::write(&mut self.ledger, reloads)
    }

    /// Adds the counts of an old master.
    pub(super) fn inherit(&mut self, counts: &str, reloads: &mut Reloads) {
        inheritance::add(counts, &mut self.ledger, reloads);
    }

    /// The descriptors to wait for. Without `accepts`, another master accepts.
    pub(super) fn interests(
        &self,
        accepts: bool,
    ) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let metrics = self.metrics.iter().flat_map(move |it| it.endpoint.interests(accepts));
        let control = self.control.iter().flat_map(move |it| it.endpoint.interests(accepts));
        metrics.chain(control)
    }

    /// When the next turn is due, even without an event.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let metrics = self.metrics.as_ref().and_then(MetricsAddress::deadline);
        let control = self.control.as_ref().and_then(|control| control.endpoint.deadline());
        metrics.into_iter().chain(control).min()
    }

    /// Answers at the metrics address, and returns the commands that have come to the control
    /// socket. `survey` looks at the server.
    pub(super) fn turn(
        &mut self,
        accepts: bool,
        survey: &dyn Fn(&mut Ledger) -> Facts,
    ) -> Vec<Request> {
        let Admin { metrics, control, ledger } = self;
        metrics.iter_mut().for_each(|metrics| metrics.turn(accepts, ledger, survey));
        control.iter_mut().flat_map(|control| control.turn(accepts)).collect()
    }

    /// The state of the server, as `/status` shows it.
    pub(super) fn status(&self, facts: &Facts) -> Value {
        status::status(&View { facts, ledger: &self.ledger })
    }

    /// Sends the outcome of a command to its client.
    pub(super) fn reply(&mut self, client: u64, outcome: &Outcome) {
        self.control.iter_mut().for_each(|control| control.reply(client, outcome));
    }

    /// Lets the client of a command wait for an event.
    pub(super) fn wait(&mut self, client: u64, awaited: Awaited) {
        self.control.iter_mut().for_each(|control| control.wait(client, awaited));
    }

    /// Sends the outcome to all clients that wait for this event.
    pub(super) fn notify(&mut self, event: Awaited, outcome: &Outcome) {
        self.control.iter_mut().for_each(|control| control.notify(event, outcome));
    }

    /// The connection of a client, unless it has gone.
    pub(super) fn connection(&self, client: u64) -> Option<BorrowedFd<'_>> {
        self.control.as_ref().and_then(|control| control.connection(client))
    }

    /// Leaves a client to another process, which has its connection as well.
    pub(super) fn release(&mut self, client: u64) {
        self.control.iter_mut().for_each(|control| control.release(client));
    }
}
