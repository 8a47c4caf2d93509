//! Hands connections over to other workers, and takes those of others: see
//! [`mod@crate::net::hand_over`].

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use log::{debug, warn};
use mio::Registry;
use mio::unix::SourceFd;
use socket2::{Socket, Type};

use super::action::Action;
use super::connections::Phase;
use super::dispatch::dispatch;
use super::evict::evict_waiting;
use super::overload::Verdict;
use super::queue_membership::HandOver;
use super::run::run;
use super::state::State;
use super::{accept, close, reject};
use crate::net::arena::ConnectionId;
use crate::net::connection::{Connection, Lent, Parsed};
use crate::net::hand_over::{MAX_MESSAGE, Message, Received};
use crate::net::shutdown::Shutdown;
use crate::net::transport::Transport;
use crate::net::tuning::{HALF_CLOSE_GRACE, SWEEP_INTERVAL};
use crate::observe::{Count, Counters, counted};

/// True if the poller does not wait for events, because it takes a message first: there may be one,
/// and a thread is free, or the message has waited too long for one. Next to workers that replace
/// this one, it only takes what it has sent itself, and looks once more before it ends.
#[inline]
pub(super) fn must_take(state: &State) -> bool {
    state.hand_over.as_ref().is_some_and(|hand_over| must_take_from(state, hand_over))
}

fn must_take_from(state: &State, hand_over: &HandOver) -> bool {
    if has_overdue(state, hand_over) {
        return true;
    }
    let has_work = match state.shutdown {
        Shutdown::Serving | Shutdown::Draining => hand_over.has_messages,
        Shutdown::Retiring | Shutdown::Yielding => hand_over.has_sent,
    };
    hand_over.free_threads > state.ready.len()
        && !state.admission.is_paused()
        && (has_work || ends(state) && !hand_over.is_done)
}

/// True if a message may have waited too long for a free thread, while the threads of this worker
/// began other requests. If all workers always have more requests than threads, none ever has a
/// free one. So this one queues the request with its own.
fn has_overdue(state: &State, hand_over: &HandOver) -> bool {
    state.shutdown == Shutdown::Serving
        && !state.admission.is_paused()
        && hand_over.waiting_since.is_some_and(|(since, jobs_taken)| {
            jobs_taken != state.admission.jobs_taken() && state.now >= since + SWEEP_INTERVAL
        })
}

/// True once nothing that this worker has sent is left in the queue, or no thread is left that
/// could run it. To be called at the end.
pub(super) fn is_done(state: &State) -> bool {
    let hand_over = state.hand_over.as_ref();
    hand_over.is_none_or(|hand_over| hand_over.is_done) || state.admission.is_stalled()
}

/// The server shuts down, and no connection is left here.
fn ends(state: &State) -> bool {
    state.shutdown != Shutdown::Serving && state.connections.len() == 0
}

/// Shows to the other workers how many more requests would find a free thread, besides those that
/// this turn has found.
pub(super) fn show_free_threads(state: &State) {
    if let Some(hand_over) = &state.hand_over {
        let is_open = state.shutdown == Shutdown::Serving
            && state.admission.is_open()
            && state.admission.has_place(state.sockets())
            // It would reject them.
            && !state.link.memory_budget.is_over_hard_limit();
        let free = hand_over.free_threads.saturating_sub(state.ready.len());
        hand_over.membership.show_free_threads(if is_open { free } else { 0 });
    }
}

/// True if the request of a lent connection, which waits in the queue, can go to another worker.
pub(super) fn is_movable(state: &State, connection: &Connection) -> bool {
    // When all workers end, another one may have looked at the queue for the last time.
    state.shutdown != Shutdown::Draining
        && connection.is_movable()
        && connection.write_half.transport().plain().is_some()
        && state.connections.get(connection.id).is_some_and(|slot| {
            matches!(slot.phase, Phase::Lent { client_disconnected: false, read_half: None, .. })
        })
}

/// Sends a connection, whose request waits in the queue, to the other workers. Returns it if the
/// kernel does not take it.
pub(super) fn offer(state: &mut State, registry: &Registry, connection: Lent) -> Result<(), Lent> {
    let id = connection.id;
    let (Some(hand_over), Some(slot)) = (&mut state.hand_over, state.connections.get(id)) else {
        return Err(connection);
    };
    let Phase::Lent { since, .. } = slot.phase else { return Err(connection) };
    let message = connection.to_message(since, slot.is_half_closed);
    let buffer = &mut hand_over.buffer;
    buffer.clear();
    if !message.encode_head(buffer) {
        return Err(connection);
    }
    connection.append_request(buffer);
    let Some(socket) = connection.write_half.transport().plain() else { return Err(connection) };
    if let Err(error) = hand_over.membership.queue().send(buffer, socket.as_fd()) {
        debug!("Cannot hand a request over, so it waits here: {error}");
        return Err(connection);
    }
    (hand_over.has_messages, hand_over.has_sent, hand_over.is_done) = (true, true, false);
    // Closing the descriptor would not do: the kernel watches the socket while any process has it.
    // One that was just accepted is not registered yet.
    let _ = registry.deregister(&mut SourceFd(&socket.as_raw_fd()));
    drop(connection);
    close::release(state, id);
    let _ = state.link.counters.increment_and_take_report(Count::HandedOver);
    Ok(())
}

/// Takes a message of the queue for each free thread, or one that has waited too long. Returns
/// connections to register.
#[inline]
pub(super) fn take(state: &mut State, unregistered: &mut Vec<ConnectionId>) {
    if state.hand_over.is_some() {
        take_all(state, unregistered);
    }
}

fn take_all(state: &mut State, unregistered: &mut Vec<ConnectionId>) {
    take_messages(state, unregistered);
    if let Some(hand_over) = &mut state.hand_over {
        let now = (state.now, state.admission.jobs_taken());
        let since = *hand_over.waiting_since.get_or_insert(now);
        hand_over.waiting_since = hand_over.has_messages.then_some(since);
    }
}

fn take_messages(state: &mut State, unregistered: &mut Vec<ConnectionId>) {
    while must_take(state) {
        if !state.admission.has_place(state.connections.len())
            && !evict_waiting(state, "--worker-connections is reached")
        {
            // Other workers take the messages.
            return state.admission.pause(state.now);
        }
        let ends = ends(state);
        let Some(hand_over) = &mut state.hand_over else { return };
        if !hand_over.spare_descriptor.open() {
            if evict_waiting(state, "no descriptors are left") {
                continue;
            }
            return state.admission.pause(state.now);
        }
        let mut buffer = std::mem::take(&mut hand_over.buffer);
        buffer.resize(MAX_MESSAGE, 0);
        hand_over.waiting_since = None;
        hand_over.spare_descriptor.close();
        let received = hand_over.membership.queue().receive(&mut buffer);
        // Not only before the next message: accepting may take the last descriptor.
        hand_over.spare_descriptor.open();
        match received {
            Ok(Received::Message(socket, length)) => {
                if let Some(id) = adopt(state, socket, &buffer[..length]) {
                    unregistered.push(id);
                }
            }
            Ok(Received::Malformed) => report_malformed(&state.link.counters),
            Ok(Received::Empty) => {
                (hand_over.has_messages, hand_over.has_sent) = (false, false);
                hand_over.is_done = ends;
            }
            Err(error) => {
                (hand_over.has_messages, hand_over.has_sent) = (false, false);
                hand_over.is_done = true;
                report_failure(&state.link.counters, &error);
            }
        }
        if let Some(hand_over) = &mut state.hand_over {
            hand_over.buffer = buffer;
        }
    }
}

#[cold]
fn report_malformed(counters: &Counters) {
    if let Some(count) = counters.increment_and_take_report(Count::HandOverFailed) {
        warn!(
            target: "worker.handover_malformed",
            "Received {} of other workers that cannot be read: closed the connection",
            counted(count, "request")
        );
    }
}

#[cold]
fn report_failure(counters: &Counters, error: &io::Error) {
    if let Some(count) = counters.increment_and_take_report(Count::HandOverFailed) {
        warn!(
            target: "worker.handover_failed",
            "Cannot receive requests of other workers, trying again at the next one: {error} ({})",
            counted(count, "time")
        );
    }
}

/// Adds a connection of another worker, and makes its request ready.
fn adopt(state: &mut State, socket: OwnedFd, message: &[u8]) -> Option<ConnectionId> {
    let socket = Socket::from(socket);
    let is_stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
    let message = Message::decode(message, state.now);
    let (Some(message), true, Ok(())) = (message, is_stream, socket.set_nonblocking(true)) else {
        report_malformed(&state.link.counters);
        return None;
    };
    let (name, port) = message.local;
    let locals = state.hand_over.iter().flat_map(|hand_over| &hand_over.locals);
    let local = locals.clone().find(|local| local.name == name && local.port == port).cloned();
    let Some(local) = local else {
        report_malformed(&state.link.counters);
        return None;
    };
    let id = accept::add(state, Transport::Plain(socket), message.peer, local);
    let slot = state.connections.get_mut(id)?;
    slot.is_half_closed = message.is_half_closed;
    let Phase::Reading(connection) = &mut slot.phase else { return None };
    connection.set_proxied(message.is_tls);
    let parsed =
        connection.feed(&mut message.bytes.to_vec(), state.settings.body_buffer, state.now);
    connection.restore(message.times, message.has_served);
    let action = match parsed {
        Parsed::Complete => match dispatch(state, id) {
            Ok(mut lent) => {
                lent.waiting_since = message.times.complete_at;
                ready(state, lent, &message)
            }
            Err(action) => action,
        },
        Parsed::Rejected(rejection) => Action::Reject(rejection),
        Parsed::NeedMore => {
            report_malformed(&state.link.counters);
            Action::Close
        }
    };
    let _ = state.link.counters.increment_and_take_report(Count::TakenOver);
    run(state, id, action);
    Some(id)
}

/// The request is complete: makes it ready to run, unless its client has disconnected, or it has
/// waited too long.
fn ready(state: &mut State, lent: Lent, message: &Message<'_>) -> Action {
    let waited = state.now.saturating_duration_since(message.times.complete_at);
    if let Some(slot) = state.connections.get_mut(lent.id)
        && let Phase::Lent { since, client_disconnected, .. } = &mut slot.phase
    {
        *since = message.times.complete_at;
        // The event of the end would come now, and say nothing of when that was.
        *client_disconnected = waited >= HALF_CLOSE_GRACE
            && !message.is_half_closed
            && lent.write_half.transport().is_peer_disconnected();
    }
    if reject::verdict(state, &lent) == Verdict::Keep {
        state.ready.push(lent);
        return Action::Wait;
    }
    reject::reject_queued(state, lent)
}
