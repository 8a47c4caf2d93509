//! Responses that are read slowly or not at all, over real sockets. The thread that reads is also
//! the poller: it flushes.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use mio::{Poll, Token, Waker};

use super::ResponseSpool;
use crate::config::{self, Budget, Settings, Timeouts};
use crate::net::output_queue::{Chunk, OutputQueue};
use crate::net::poller_link::PollerLink;
use crate::net::transport::Transport;
use crate::net::tuning::HIGH_WATER_MARK;
use crate::net::write_half::WriteHalf;
use crate::net::write_pace::WritePace;
use crate::observe::Count;

const MIB: usize = 1 << 20;
const UNLIMITED: u64 = u64::MAX / 4;

/// A response to a client at the other end of a socket.
struct Site {
    link: Arc<PollerLink>,
    write_half: Arc<WriteHalf>,
    spool: ResponseSpool,
    pace: WritePace,
    client: UnixStream,
    _poll: Poll,
}

impl Site {
    fn open(response_spool: u64, limit_spool: u64, write_timeout: Duration) -> Site {
        let budget = Budget { memory: usize::MAX, spool: limit_spool };
        Site::with_budget(response_spool, budget, write_timeout)
    }

    fn with_budget(response_spool: u64, budget: Budget, write_timeout: Duration) -> Site {
        let poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), Token(0)).unwrap();
        let settings = Settings { budget, ..config::parse_api(&[]).unwrap() };
        let link = Arc::new(PollerLink::new(waker, &settings));
        let (server, client) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let write_half =
            Arc::new(WriteHalf::new(Transport::Plain(server.into()), link.memory_budget.clone()));
        let timeouts = Timeouts { write: write_timeout, ..Timeouts::default() };
        let pace = WritePace::from(&timeouts);
        Site {
            link,
            write_half,
            spool: ResponseSpool::new(response_spool),
            pace,
            client,
            _poll: poll,
        }
    }

    /// Sends a block as a thread of the application does.
    fn produce(&mut self, block: &[u8]) -> io::Result<()> {
        if self.write_half.is_full() {
            self.write_half.make_room(&mut self.spool, self.pace, &self.link)?;
        }
        let mut queue = OutputQueue::default();
        queue.gather(|out| out.extend_from_slice(b"<"));
        if block.len() < 1000 {
            queue.gather(|out| out.extend_from_slice(block));
        } else {
            queue.push(Chunk::Shared(block.to_vec().into()));
        }
        queue.gather(|out| out.extend_from_slice(b">"));
        self.write_half.send_all(&mut queue, &self.link)
    }

    fn stored(&self) -> u64 {
        self.link.memory_budget.spooled()
    }

    /// Reads `total` bytes on another thread, from now on.
    fn read(&self, total: usize) -> std::thread::JoinHandle<Vec<u8>> {
        let (mut client, write_half) = (self.client.try_clone().unwrap(), self.write_half.clone());
        std::thread::spawn(move || {
            let (mut received, mut buffer) = (Vec::new(), vec![0; 50_000]);
            while received.len() < total {
                let want = buffer.len().min(total - received.len());
                let count = client.read(&mut buffer[..want]).unwrap();
                assert!(count > 0, "only {} bytes came", received.len());
                received.extend_from_slice(&buffer[..count]);
                let _ = write_half.flush();
            }
            received
        })
    }
}

/// Blocks of all sizes, 12 MiB in all, and what the client receives of them.
fn blocks() -> (Vec<Vec<u8>>, Vec<u8>) {
    let sizes = [1, 0, 999, 1000, 16_384, 65_536, 70_000, 300_000, 3, MIB];
    let blocks: Vec<Vec<u8>> =
        (0..80).map(|i| vec![b'a' + i % 26; sizes[i as usize % 10]]).collect();
    let framed = blocks.iter().map(|block| [b"<", &block[..], b">"].concat()).collect::<Vec<_>>();
    (blocks, framed.concat())
}

#[test]
fn response_that_is_not_read_is_produced_whole_and_arrives_in_order() {
    let mut site = Site::open(UNLIMITED, UNLIMITED, Duration::MAX);
    let (blocks, expected) = blocks();
    for block in &blocks {
        site.produce(block).unwrap();
        assert!(site.write_half.unsent_bytes() <= HIGH_WATER_MARK + block.len() + 2);
    }
    assert!(site.stored() > 8 * MIB as u64);
    assert!(site.read(expected.len()).join().unwrap() == expected);
    assert_eq!((site.stored(), site.write_half.has_waiting()), (0, false));
    // What follows takes the way through memory again.
    site.spool = ResponseSpool::new(UNLIMITED);
    site.produce(b"next").unwrap();
    assert_eq!(site.read(6).join().unwrap(), b"<next>");
    assert_eq!(site.stored(), 0);
}

/// Produces for a client that does not read. Returns how many bytes until `timeout` has expired.
fn produce_until_timeout(
    response_spool: u64,
    limit_spool: u64,
    most: u64,
    timeout: Duration,
) -> (Site, usize) {
    let mut site = Site::open(response_spool, limit_spool, timeout);
    let mut produced = 0;
    let error = loop {
        match site.produce(&[b'x'; 20_000]) {
            Ok(()) => produced += 20_002,
            Err(error) => break error,
        }
        let stored = site.stored();
        assert!(stored <= most, "{stored}");
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    (site, produced)
}

#[test]
fn producer_waits_once_its_output_may_not_be_stored() {
    let mib = MIB as u64;
    for (response_spool, limit_spool, expected, least, most) in [
        (0, UNLIMITED, None, 0, 0),
        (mib, UNLIMITED, Some(Count::ResponseSpool), mib / 2, mib),
        // A quarter of it is kept for request bodies.
        (UNLIMITED, 2 * mib, Some(Count::ResponseSpoolLimit), mib, mib * 3 / 2),
    ] {
        // The producer may take longer than the timeout to store that much.
        let (site, produced) = [100, 1000, 10_000]
            .map(Duration::from_millis)
            .into_iter()
            .map(|timeout| produce_until_timeout(response_spool, limit_spool, most, timeout))
            .find(|(_, produced)| *produced as u64 > least)
            .expect("it stores output");
        assert!(produced < 4 * MIB, "the producer waits");
        assert_eq!(site.stored(), 0, "the response was dropped");
        for count in [Count::ResponseSpool, Count::ResponseSpoolLimit, Count::ResponseSpoolFailed] {
            assert_eq!(
                site.link.counters.get(count),
                u64::from(Some(count) == expected),
                "{count:?}"
            );
        }
    }
}

#[test]
fn producer_at_the_limit_continues_while_the_client_reads() {
    let mut site = Site::open(MIB as u64, UNLIMITED, Duration::MAX);
    let (blocks, expected) = blocks();
    let reader = site.read(expected.len());
    for block in &blocks {
        site.produce(block).unwrap();
        assert!(site.stored() <= 2 * MIB as u64, "sent bytes of one segment included");
    }
    assert!(reader.join().unwrap() == expected);
    assert_eq!(site.stored(), 0);
}

#[test]
#[cfg(target_os = "linux")]
fn output_that_a_full_disk_refuses_stays_in_memory_in_order() {
    // Over the soft limit of memory a client is not waited for.
    let budget = Budget { memory: 1, spool: UNLIMITED };
    let mut site = Site::with_budget(UNLIMITED, budget, Duration::MAX);
    let (blocks, expected) = blocks();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let full = Arc::new(super::Segment::with_file(full, site.link.memory_budget.clone()));
    site.spool.segment = Arc::downgrade(&full);
    let reader = site.read(expected.len());
    for block in &blocks {
        site.produce(block).unwrap();
    }
    assert!(reader.join().unwrap() == expected);
    assert_eq!((site.stored(), site.link.counters.get(Count::ResponseSpoolFailed)), (0, 1));
}

#[test]
fn large_response_has_several_segments_whose_space_is_freed_one_by_one() {
    let mut site = Site::open(UNLIMITED, UNLIMITED, Duration::MAX);
    let (block, count) = (vec![b'x'; MIB], 70);
    for _ in 0..count {
        site.produce(&block).unwrap();
    }
    let before = site.stored();
    let left = 30 * (MIB + 2);
    site.read((MIB + 2) * count - left).join().unwrap();
    assert!(before > 64 * MIB as u64);
    assert!(site.stored() < before - super::SEGMENT_BYTES, "{}", site.stored());
    site.read(left).join().unwrap();
    assert_eq!(site.stored(), 0);
}

#[test]
fn client_that_disconnects_frees_the_files_and_fails_the_producer() {
    let mut site = Site::open(UNLIMITED, UNLIMITED, Duration::MAX);
    for _ in 0..40 {
        site.produce(&[b'x'; 65_536]).unwrap();
    }
    assert!(site.stored() > MIB as u64);
    site.write_half.fail();
    assert_eq!(site.stored(), 0);
    let error = site.produce(b"x").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}
