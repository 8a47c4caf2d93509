//! One turn of a session: reads, lets the protocol and its streams advance, and sends.

use std::io;

use super::{content, end, open};
use crate::net::arena::ConnectionId;
use crate::net::connection::Connection;
use crate::net::http2::Found;
use crate::net::output_queue::Flush;
use crate::net::poller::action::Action;
use crate::net::poller::connections::Phase;
use crate::net::poller::multiplexed::Multiplexed;
use crate::net::poller::state::State;
use crate::net::shutdown::Shutdown;
use crate::net::tuning::{HTTP2_ROUNDS_PER_TURN, MAX_READ_PER_TURN};

/// True if the session has to be driven, although no event has come.
pub(in crate::net::poller) fn is_woken(state: &State, id: ConnectionId) -> bool {
    match state.connections.get(id).map(|slot| &slot.phase) {
        Some(Phase::Http2(Some(http2))) => http2.waker.take(),
        _ => false,
    }
}

/// Reads, lets the protocol and its streams advance, and sends, within the limits of one turn.
pub(in crate::net::poller) fn drive(state: &mut State, id: ConnectionId) -> Action {
    let Some(slot) = state.connections.get_mut(id) else { return Action::Wait };
    let Phase::Http2(http2) = &mut slot.phase else { return Action::Wait };
    let Some(mut http2) = http2.take() else { return Action::Wait };
    http2.waker.take();
    http2.session.swap_output(&mut state.session_output);
    let driven = drive_taken(state, id, &mut http2);
    http2.session.swap_output(&mut state.session_output);
    if driven.is_err() || http2.ending.is_some() {
        end::lose_streams(state, &mut http2);
    }
    let action = match driven {
        Err(error) => end::on_lost(&http2, &error),
        Ok(Progress::More) => {
            state.reschedule(id);
            Action::Wait
        }
        Ok(Progress::Blocked) => Action::Wait,
        Ok(Progress::Done) if http2.ending.is_some() => Action::Linger,
        Ok(Progress::Done) => Action::Wait,
    };
    let held_bytes = http2.session.held_bytes() + http2.unread_bytes;
    http2.connection.charge_session(held_bytes);
    let due = end::deadline(state, &http2);
    if let Some(slot) = state.connections.get_mut(id) {
        state.timers.set(id, &mut slot.deadline, due);
        slot.phase = Phase::Http2(Some(http2));
    }
    action
}

/// How far a turn has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing is left to do until the next event.
    Done,
    /// Bytes wait for the socket.
    Blocked,
    /// The limit of a turn is reached.
    More,
}

fn drive_taken(
    state: &mut State,
    id: ConnectionId,
    http2: &mut Multiplexed,
) -> io::Result<Progress> {
    if state.shutdown != Shutdown::Serving {
        http2.leave(state.now);
    }
    if http2.session.shared().is_congested() {
        // First, so that the streams see whether the socket has taken all.
        send(http2)?;
    }
    let mut bytes_left = MAX_READ_PER_TURN;
    for _ in 0..HTTP2_ROUNDS_PER_TURN {
        let has_more = http2.ending.is_none() && read(state, id, http2, &mut bytes_left)?;
        advance(state, http2);
        http2.session.return_input(state.read_buffer.filled());
        content::proceed_streams(state, http2);
        let flush = send(http2)?;
        if flush == Flush::Blocked {
            return Ok(Progress::Blocked);
        }
        // The protocol stops writing at a limit, and reading while it cannot write.
        let is_stalled = http2.session.take_stalled();
        // Streams that wait for the others, or for the socket, may go on now.
        let is_resumable = http2.session.shared().has_resumable();
        let is_woken = http2.waker.take() || is_stalled || is_resumable;
        if http2.ending.is_some() || !(has_more || is_woken || flush == Flush::More) {
            return Ok(if flush == Flush::More { Progress::More } else { Progress::Done });
        }
    }
    Ok(Progress::More)
}

/// Reads once; true if there may be more to read now.
fn read(
    state: &mut State,
    id: ConnectionId,
    http2: &mut Multiplexed,
    bytes_left: &mut usize,
) -> io::Result<bool> {
    let Some(slot) = state.connections.get_mut(id) else { return Ok(false) };
    if !slot.is_readable || !http2.session.wants_input() || *bytes_left == 0 {
        // No event reports again what has been left in the socket, such as the end of a client that
        // has sent its preface only.
        return Ok(slot.is_readable);
    }
    let transport = slot.write_half.transport();
    let buffer = state.read_buffer.empty();
    let count = match transport.append_to(buffer) {
        Ok(count) => count,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            slot.is_readable = false;
            return Ok(false);
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
        Err(error) => return Err(error),
    };
    if count == 0 {
        slot.is_readable = false;
        http2.session.receive_end();
        return Ok(false);
    }
    // A short read has emptied the socket: the next byte causes a new event.
    slot.is_readable =
        buffer.len() == buffer.capacity() || slot.is_half_closed || transport.has_more();
    *bytes_left = bytes_left.saturating_sub(count);
    http2.session.receive(buffer, state.now);
    Ok(slot.is_readable)
}

/// Lets the protocol advance, and opens the streams that it finds.
fn advance(state: &mut State, http2: &mut Multiplexed) {
    while http2.ending.is_none() {
        match http2.session.poll() {
            Found::Request(new) => open::open_stream(state, http2, *new),
            Found::Nothing => return,
            Found::Closed(ending) => {
                end::report(state, http2, ending);
                http2.ending = Some(ending);
            }
        }
    }
}

/// Sends what the protocol has ready. While the socket is full, no stream adds anything.
pub(super) fn send(http2: &mut Multiplexed) -> io::Result<Flush> {
    let Multiplexed { connection, session, .. } = http2;
    let Connection { queue, write_half, .. } = &mut **connection;
    let mut flush = match queue.is_empty() && !write_half.has_waiting() {
        true => Flush::Done,
        false => write_half.send(queue)?,
    };
    if let Some(sent) = session.send_output(|bytes| write_half.send_bytes(bytes)) {
        let sent = sent?;
        // What comes behind other bytes waits for the same as these.
        if flush == Flush::Done {
            flush = sent;
        }
    }
    session.set_congested(flush == Flush::Blocked);
    if flush == Flush::Done {
        write_half.start_next();
    }
    Ok(flush)
}
