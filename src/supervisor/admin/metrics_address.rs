//! The metrics address (`--metrics`): answers requests for metrics, health and status from what the
//! workers show in shared memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use log::info;

use super::answer::Answer;
use super::endpoint::{Client, Endpoint, Served};
use super::hosts::Hosts;
use super::http_client::{HttpClient, limits};
use super::ledger::Ledger;
use super::routes::{self, Show};
use super::view::{Facts, View};
use crate::config::{Bind, Settings};
use crate::http1::{Head, Limits};
use crate::net::HttpDate;
use crate::supervisor::sockets::{INHERITED_METRICS, Sockets};

/// Streams of events that are open at a time: the other places are for probes and scrapes.
const MAX_STREAMS: usize = 32;
/// How often the live page gets the state.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// The address and its connections.
#[derive(Debug)]
pub(super) struct MetricsAddress {
    pub(super) endpoint: Endpoint<HttpClient>,
    hosts: Hosts,
    limits: Arc<Limits>,
    date: HttpDate,
    /// The last state that clients stream, as an event.
    event: Vec<u8>,
    /// When the next event is due.
    next_event: Instant,
}

impl MetricsAddress {
    /// Binds the address, or takes its socket from the old master.
    ///
    /// # Errors
    /// As [`net::bind`](crate::net::bind).
    pub(super) fn open(bind: &Bind, settings: &Settings) -> anyhow::Result<MetricsAddress> {
        let inherited = Sockets::inherited(INHERITED_METRICS, settings.backlog);
        let sockets = Sockets::open_one(bind, settings.into(), inherited).map_err(|failure| {
            // The hint names the option of the application's addresses.
            anyhow!("{}", format!("--metrics: {failure:#}").replace("--bind", "address"))
        })?;
        info!(target: "metrics.listening", "Metrics at: {}", sockets.urls());
        let (endpoint, next_event) = (Endpoint::new(sockets), Instant::now());
        Ok(MetricsAddress {
            endpoint,
            hosts: Hosts::of(bind),
            limits: limits(),
            date: HttpDate::default(),
            event: Vec::new(),
            next_event,
        })
    }

    /// When the next turn is due, even without an event.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let events = self.endpoint.clients.iter().any(HttpClient::is_streaming);
        self.endpoint.deadline().into_iter().chain(events.then_some(self.next_event)).min()
    }

    /// Does what is possible without waiting. `survey` looks at the server.
    pub(super) fn turn(
        &mut self,
        accepts: bool,
        ledger: &mut Ledger,
        survey: &dyn Fn(&mut Ledger) -> Facts,
    ) {
        let now = Instant::now();
        // All requests of a turn see the same state, which is rendered once.
        let mut facts = None;
        let mut rendered: Vec<(Show, Answer)> = Vec::new();
        let MetricsAddress { endpoint, hosts, date, limits, event, next_event } = self;
        if !endpoint.clients.iter().any(HttpClient::is_streaming) {
            *event = Vec::new();
        } else if now >= *next_event {
            let facts = facts.insert(survey(ledger));
            *event = routes::event(&View { facts, ledger });
            *next_event = now + EVENT_INTERVAL;
            endpoint.clients.iter_mut().for_each(HttpClient::expect_event);
        }
        let serve = |client: &mut HttpClient| {
            let mut answer = |head: &Head| {
                routes::answer(head, hosts, |show| {
                    if let Some((_, answer)) = rendered.iter().find(|(known, _)| *known == show) {
                        return answer.clone();
                    }
                    let facts = facts.get_or_insert_with(|| survey(ledger));
                    let answer = show.answer(&View { facts, ledger });
                    rendered.push((show, answer.clone()));
                    answer
                })
            };
            let served = client.turn(now, date, &mut answer);
            Served::of(served.and_then(|()| client.send_event(event, now)))
        };
        endpoint.turn(now, accepts, |socket| HttpClient::new(socket, limits.clone(), now), serve);
        limit_streams(&mut endpoint.clients);
    }
}

/// Closes the streams that are too many, first the one that has read nothing for longest.
fn limit_streams(clients: &mut Vec<HttpClient>) {
    let streams = |clients: &[HttpClient]| clients.iter().filter(|c| c.is_streaming()).count();
    while streams(clients) > MAX_STREAMS {
        let ranked = clients.iter().enumerate().filter(|(_, client)| client.is_streaming());
        let Some((index, _)) = ranked.min_by_key(|(_, client)| client.rank()) else { return };
        clients.swap_remove(index);
    }
}
