//! When blocks that a write half has taken are freed.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::WriteHalf;
use super::state::State;
use crate::config::Budget;
use crate::net::memory_budget::MemoryBudget;
use crate::net::output_queue::{Chunk, Flush, OutputQueue};
use crate::net::tuning::MAX_WRITE_PER_TURN;
use crate::sync::CriticalSection;
use crate::sys::clock;

const MIB: usize = 1 << 20;

/// Counts the blocks that are freed, and those that are freed under a lock.
#[derive(Default)]
struct Freed {
    all: AtomicUsize,
    locked: AtomicUsize,
}

/// The owner of a block.
struct Owner(Vec<u8>, Arc<Freed>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.1.all.fetch_add(1, Ordering::Relaxed);
        if CriticalSection::is_inside() {
            self.1.locked.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A regression test: a block of Python could be released under the lock. Without a GIL that may
/// wait for all other threads, while one of them waits for the lock.
#[test]
fn blocks_are_freed_without_the_lock() {
    let memory_budget = Arc::new(MemoryBudget::new(Budget { memory: usize::MAX, spool: u64::MAX }));
    let freed = Arc::new(Freed::default());
    let block = |size| {
        let mut queue = OutputQueue::default();
        queue.push(Chunk::Shared(Bytes::from_owner(Owner(vec![7; size], freed.clone()))));
        queue
    };
    let all = || freed.all.load(Ordering::Relaxed);
    let (server, client) = UnixStream::pair().unwrap();
    server.set_nonblocking(true).unwrap();
    let half = WriteHalf::new(server.into(), memory_budget.clone());

    assert_eq!(half.send(&mut block(1000)).unwrap(), Flush::Done);
    assert_eq!(all(), 1, "sent at once");
    half.enqueue(&mut block(1000)).unwrap();
    half.flush_scheduled();
    assert_eq!(all(), 2, "sent later");
    assert_eq!(half.send(&mut block(4 * MIB)).unwrap(), Flush::Blocked);
    assert!(memory_budget.memory_bytes() > MIB);
    half.enqueue(&mut block(1000)).unwrap();
    half.abort();
    assert_eq!(all(), 4, "dropped");
    assert!(half.send(&mut block(1000)).is_err() && half.enqueue(&mut block(1000)).is_err());
    assert_eq!(all(), 6, "refused");
    assert_eq!(freed.locked.load(Ordering::Relaxed), 0);
    assert_eq!(memory_budget.memory_bytes(), 0);
    drop(client);
}

/// A regression test: a thread held the lock while it sent all of a file of the application.
#[test]
fn producer_leaves_most_of_a_file_to_the_poller() {
    let budget = |chunk| {
        let mut queue = OutputQueue::default();
        queue.push(chunk);
        let mut waiting = State::new(clock::now());
        let before = waiting.budget_of_producer(&queue);
        waiting.queue.append(&mut queue);
        (before, waiting.budget_of_producer(&queue))
    };
    let file = tempfile::tempfile().unwrap();
    let file = Chunk::File { file, offset: 0, left: 1 << 40 };
    assert_eq!(budget(file), (MAX_WRITE_PER_TURN, MAX_WRITE_PER_TURN));
    assert_eq!(budget(Chunk::Gathered(vec![7])), (u64::MAX, u64::MAX));
}
