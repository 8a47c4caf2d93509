//! Continues with the responses that have waited for a disk.

use std::io;
use std::sync::Arc;

use super::action::Action;
use super::dispatch::lend_to_thread;
use super::run::run;
use super::state::State;
use super::static_files::{answer_with, fail};
use super::write;
use crate::net::connection::Connection;
use crate::net::loader::Loaded;
use crate::net::output_queue::FilePart;
use crate::static_files::{Found, Lookup, Target};

/// Continues with the responses whose files were loaded.
#[inline]
pub(super) fn on_loaded(state: &mut State) {
    if state.loader.is_in_use() {
        continue_loaded(state);
    }
}

fn continue_loaded(state: &mut State) {
    for (id, loaded) in state.loader.take_done() {
        let Some(slot) = state.connections.get_mut(id) else { continue };
        slot.is_loading = false;
        let Some(connection) = state.lend(id) else { continue };
        let action = match loaded {
            Loaded::Found(target, found) => on_found(state, connection, target, found),
            Loaded::Part(part) => Some(on_part(state, connection, &part)),
        };
        if let Some(action) = action {
            run(state, id, action);
        }
    }
}

fn on_found(
    state: &mut State,
    connection: Box<Connection>,
    target: Target,
    found: io::Result<Found>,
) -> Option<Action> {
    let mut files = state.static_files.take()?;
    let answered = match found {
        Ok(found) => {
            files.insert(target.clone(), found);
            answer_with(&mut files, state, connection, target, Lookup::Blocking)
        }
        Err(error) => Err(fail(state, connection, &error)),
    };
    state.static_files = Some(files);
    match answered {
        Ok(connection) => {
            let lent = lend_to_thread(state, connection);
            state.ready.push(lent);
            None
        }
        Err(action) => Some(action),
    }
}

/// Sends the part that was loaded. If another part of the response is not in memory, that is loaded
/// first. But what was just loaded is sent in any case: memory may be so short that it is gone.
fn on_part(state: &mut State, connection: Box<Connection>, loaded: &FilePart) -> Action {
    let is_same =
        |part: FilePart| Arc::ptr_eq(&part.file, &loaded.file) && part.offset == loaded.offset;
    let sent = match connection.write_half.cold_part().is_none_or(is_same) {
        true => connection.write_half.flush(),
        false => connection.write_half.flush_resident(),
    };
    write::on_sent(state, connection, sent)
}
