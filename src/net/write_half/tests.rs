//! When blocks and buffers that a write half has taken are freed, and how much of a file it sends
//! at once.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::WriteHalf;
use super::state::State;
use crate::config::Budget;
use crate::net::memory_budget::MemoryBudget;
use crate::net::output_queue::{Chunk, Flush, OutputQueue};
#[cfg(target_os = "linux")]
use crate::net::transport::Then;
use crate::net::transport::Transport;
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
    let half = WriteHalf::new(Transport::Plain(server.into()), memory_budget.clone());

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

/// A regression test: each connection that had streamed a response kept up to 64 KiB of it, which
/// no limit counted.
#[test]
fn sent_response_leaves_no_large_buffer() {
    let memory_budget = Arc::new(MemoryBudget::new(Budget { memory: usize::MAX, spool: u64::MAX }));
    let (server, _client) = UnixStream::pair().unwrap();
    server.set_nonblocking(true).unwrap();
    let half = WriteHalf::new(Transport::Plain(server.into()), memory_budget);
    let mut queue = OutputQueue::default();
    let mut gather = |size| {
        queue.gather(|out| out.resize(size, b'x'));
        std::mem::take(&mut queue)
    };
    for size in [1000, 60_000] {
        half.enqueue(&mut gather(size)).unwrap();
        assert_eq!(half.flush().unwrap(), Flush::Done);
        assert_eq!(half.lock().queue.take_spare().capacity(), 0, "{size} bytes, sent later");
    }
    for (size, is_kept) in [(1000, true), (60_000, false)] {
        let mut queue = gather(size);
        assert_eq!(half.send(&mut queue).unwrap(), Flush::Done);
        assert_eq!(queue.take_spare().capacity() > 0, is_kept, "{size} bytes, sent at once");
    }
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
    let file = Chunk::File { file: Arc::new(file), offset: 0, left: 1 << 40 };
    assert_eq!(budget(file), (MAX_WRITE_PER_TURN, MAX_WRITE_PER_TURN));
    assert_eq!(budget(Chunk::Gathered(vec![7])), (u64::MAX, u64::MAX));
}

/// A regression test: the head used up a part of the budget, so that the poller sent the last bytes
/// of a file of 1 MiB in a turn of their own.
#[test]
#[cfg(target_os = "linux")]
fn file_of_one_turn_is_sent_with_its_head() {
    let send = |length: u64| {
        let file = tempfile::tempfile().unwrap();
        file.set_len(length).unwrap();
        let mut queue = OutputQueue::default();
        queue.gather(|out| out.extend_from_slice(b"head"));
        queue.push(Chunk::File { file: file.into(), offset: 0, left: length });
        let (server, mut client) = UnixStream::pair().unwrap();
        let reader =
            std::thread::spawn(move || std::io::copy(&mut client, &mut std::io::sink()).unwrap());
        let sent = queue.send(&Transport::Plain(server.into()), MAX_WRITE_PER_TURN, Then::Open);
        drop(queue);
        (sent.unwrap(), reader.join().unwrap())
    };
    let turn = MAX_WRITE_PER_TURN;
    assert_eq!(send(turn), ((Flush::Done, turn + 4), turn + 4));
    assert_eq!(send(2 * turn), ((Flush::More, turn), turn));
}
