//! Answers requests for static files, without a worker thread. What would wait for a disk is given
//! to the [loader](crate::net::loader), and [`loaded`](super::loaded) continues when that has it in
//! memory.
//!
//! A file is looked up once a turn: requests of the same turn share the open file, its head and, if
//! it is small, its content. So a response is never older than the request.

use std::io;

use log::error;

use super::action::Action;
use super::connections::Phase;
use super::prepared::StaticFiles;
use super::state::State;
use super::write;
use crate::net::connection::Connection;
use crate::net::loader::Loaded;
use crate::net::output_queue::Chunk;
use crate::observe::{Count, counted};
use crate::static_files::{Answer, Lookup, Part, Reply, Target, failure};
use crate::sys::clock::wall_clock;

/// Answers the request of a connection that was taken out of its slot, if it is for a static file.
/// Otherwise returns the connection.
pub(super) fn answer(
    state: &mut State,
    connection: Box<Connection>,
) -> Result<Box<Connection>, Action> {
    let Some(mut files) = state.static_files.take() else { return Ok(connection) };
    let target = files.site.target(connection.http.head().path(), prefix_of(&connection));
    let answered = match target {
        Some(target) => answer_with(&mut files, state, connection, target, Lookup::Cached),
        None => Ok(connection),
    };
    state.static_files = Some(files);
    answered
}

/// The same for a known target.
pub(super) fn answer_with(
    files: &mut StaticFiles,
    state: &mut State,
    connection: Box<Connection>,
    target: Target,
    lookup: Lookup,
) -> Result<Box<Connection>, Action> {
    let site = files.site.clone();
    let answer = files.prepare(target.clone(), lookup).and_then(|prepared| {
        site.answer(connection.http.head(), prefix_of(&connection), prepared, lookup)
    });
    match answer {
        Ok(Answer::Reply(reply)) => Err(send(state, connection, reply)),
        Ok(Answer::Application) => Ok(connection),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(look_up(files, state, connection, target))
        }
        Err(error) => Err(fail(state, connection, &error)),
    }
}

/// The prefix of the URL that a trusted proxy names, or nothing.
fn prefix_of(connection: &Connection) -> &[u8] {
    let forwarded = connection.forwarded();
    forwarded.and_then(|forwarded| forwarded.prefix.as_deref()).unwrap_or_default()
}

/// Has another thread look up the file, and load it if it is small.
#[cold]
fn look_up(
    files: &StaticFiles,
    state: &mut State,
    connection: Box<Connection>,
    target: Target,
) -> Action {
    let (id, site) = (connection.id, files.site.clone());
    if let Some(slot) = state.connections.get_mut(id) {
        slot.phase = Phase::Sending(connection);
        slot.is_loading = true;
    }
    state.loader.start(id, move || {
        let found = site.find(&target, Lookup::Blocking);
        if let Ok(found) = &found {
            found.load();
        }
        Loaded::Found(target, found)
    });
    Action::Wait
}

/// Sends a response.
fn send(state: &mut State, mut connection: Box<Connection>, reply: Reply<'_>) -> Action {
    let Reply { head, length, parts } = reply;
    if connection.http.wants_content() {
        // With `--request-buffering off`, the content of the request is still to come.
        connection.http.close_after_response();
    }
    let date = state.date.at(wall_clock());
    connection.begin(&head, length, date);
    let Connection { http, queue, .. } = &mut *connection;
    for part in parts {
        match part {
            Part::Bytes(bytes) => {
                let take = http.frame(bytes.len()).take;
                queue.gather(|out| out.extend_from_slice(&bytes[..take]));
            }
            Part::File { file, offset, length } => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let left = http.frame(length).take as u64;
                if left > 0 {
                    queue.push(Chunk::File { file, offset, left });
                }
            }
        }
    }
    // The parts have the length that the head declares.
    let _ = queue.gather(|out| http.finish(out));
    if let Some(log) = &state.access_log {
        connection.log_access(&head, &[], |record| log.log(record));
    }
    state.count_answered(&connection, head.status());
    let sent = connection.send();
    write::on_sent(state, connection, sent)
}

#[cold]
pub(super) fn fail(
    state: &mut State,
    mut connection: Box<Connection>,
    error: &io::Error,
) -> Action {
    let reply = failure(error);
    let scope = connection.identify();
    if let Some(count) = state.link.counters.increment_and_take_report(Count::StaticFailed) {
        error!(
            target: "static.failed",
            "Cannot open or read a static file, {error}: {} ({}, with {})",
            connection.http.head(),
            counted(count, "response"),
            reply.head.status()
        );
    }
    drop(scope);
    send(state, connection, reply)
}
