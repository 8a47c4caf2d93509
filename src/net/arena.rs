//! The storage of the poller's connections: a vector of reused slots, addressed by slot and
//! generation. The id of a closed connection never names the next connection in its slot.
//!
//! The `slotmap` crate does the same, but `deny.toml` does not allow its licence. A look-up here
//! costs an index and a comparison, without `unsafe`.

/// Names one connection by its slot and its generation in that slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnectionId {
    slot: u32,
    generation: u32,
}

/// Generations have 30 bits. So no id becomes a token near `usize::MAX`, which the poller uses for
/// the waker and the listeners, and one bit is left for [`RELAY`].
const GENERATIONS: u32 = 0x3fff_ffff;

/// The bit of a token that names a connection's relay instead of its client.
const RELAY: usize = 1 << 62;

impl ConnectionId {
    /// The id as the token of the connection's readiness events.
    pub(super) fn token(self) -> usize {
        self.slot as usize | (self.generation as usize) << 32
    }

    /// The id as the token of its relay's readiness events.
    pub(super) fn relay_token(self) -> usize {
        self.token() | RELAY
    }

    /// True if a token of a connection is that of its relay.
    pub(super) fn is_relay(token: usize) -> bool {
        token & RELAY != 0
    }

    /// The id behind a token.
    pub(super) fn from_token(token: usize) -> ConnectionId {
        let generation = (token >> 32) as u32 & GENERATIONS;
        ConnectionId { slot: token as u32, generation }
    }
}

#[derive(Debug)]
struct Slot<T> {
    /// The generation of the value, or of the next one.
    generation: u32,
    value: Option<T>,
}

/// Values by [`ConnectionId`].
#[derive(Debug)]
pub(super) struct Arena<T> {
    slots: Vec<Slot<T>>,
    /// Slots without a value. The last one is reused first: its memory is warm.
    free: Vec<u32>,
}

impl<T> Arena<T> {
    pub(super) fn new() -> Arena<T> {
        Arena { slots: Vec::new(), free: Vec::new() }
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Inserts the value that `make` returns for its id.
    pub(super) fn insert_with(&mut self, make: impl FnOnce(ConnectionId) -> T) -> ConnectionId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, value: None });
            u32::try_from(self.slots.len() - 1).expect("fewer connections than descriptors")
        });
        let entry = self.slots.get_mut(slot as usize).expect("a free slot exists");
        let id = ConnectionId { slot, generation: entry.generation };
        entry.value = Some(make(id));
        id
    }

    #[inline]
    pub(super) fn get(&self, id: ConnectionId) -> Option<&T> {
        let slot = self.slots.get(id.slot as usize)?;
        if slot.generation == id.generation { slot.value.as_ref() } else { None }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation == id.generation { slot.value.as_mut() } else { None }
    }

    /// Removes a value; its id names nothing from now on.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<T> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = (slot.generation + 1) & GENERATIONS;
        self.free.push(id.slot);
        Some(value)
    }

    /// All values in the order of their slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &T)> {
        (0..).zip(&self.slots).filter_map(|(slot, entry)| {
            let value = entry.value.as_ref()?;
            Some((ConnectionId { slot, generation: entry.generation }, value))
        })
    }

    /// The ids of all values.
    pub(super) fn ids(&self) -> Vec<ConnectionId> {
        self.iter().map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_of_removed_value_names_nothing() {
        let mut arena = Arena::new();
        let old = arena.insert_with(|_| 'a');
        assert_eq!(arena.remove(old), Some('a'));
        let new = arena.insert_with(|_| 'b');
        assert_eq!(old.slot, new.slot, "the slot is reused");
        assert_eq!(arena.get(old), None);
        assert_eq!(arena.get_mut(old), None);
        assert_eq!(arena.remove(old), None);
        assert_eq!((arena.get(new), arena.len()), (Some(&'b'), 1));
        assert_eq!(arena.ids(), [new]);
    }

    #[test]
    fn token_round_trip_keeps_the_id() {
        for (slot, generation) in [(0, 0), (7, 1), (u32::MAX - 1, GENERATIONS)] {
            let id = ConnectionId { slot, generation };
            assert_eq!(ConnectionId::from_token(id.token()), id);
            assert!(id.token() < usize::MAX / 2 + 1, "such tokens are the listeners'");
        }
    }

    #[test]
    fn generation_wraps_around_within_its_bits() {
        let mut arena = Arena::new();
        let id = arena.insert_with(|_| ());
        arena.slots.get_mut(0).unwrap().generation = GENERATIONS;
        assert_eq!(arena.remove(ConnectionId { generation: GENERATIONS, ..id }), Some(()));
        assert_eq!(arena.insert_with(|_| ()).generation, 0);
    }
}
