//! Has a part of a file loaded that a complete response is about to send.

use super::state::State;
use crate::net::arena::ConnectionId;
use crate::net::loader::Loaded;
use crate::net::tuning::LOAD_AHEAD;
use crate::static_files::load;

/// Has the part of a file that a response needs next loaded. Until then nothing is sent, and the
/// deadlines of the client do not apply.
#[cold]
pub(super) fn load_part(state: &mut State, id: ConnectionId) {
    let Some(slot) = state.connections.get_mut(id) else { return };
    let Some(part) = slot.write_half.cold_part() else {
        // It has been loaded since.
        return slot.reschedule(id, &mut state.run_queue);
    };
    slot.is_loading = true;
    state.timers.set(id, &mut slot.deadline, None);
    state.loader.start(id, move || {
        load(&part.file, part.offset, part.length, LOAD_AHEAD);
        Loaded::Part(part)
    });
}
