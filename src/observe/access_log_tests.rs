//! Tests of the access log: batches, threads, and outputs that fail or stand still.

use super::super::trace::Trace;
use super::super::writer::DROP_THRESHOLD_BYTES;
use super::*;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A request for `/`.
pub(in crate::observe) fn record() -> Record<'static> {
    request(b"/")
}

fn request<'a>(target: &'a [u8]) -> Record<'a> {
    Record {
        remote: "::1",
        method: b"GET",
        target,
        version: "HTTP/1.1",
        status: 200,
        sent: 0,
        started: SystemTime::now(),
        elapsed: Duration::ZERO,
        request_field: &|_| None,
        response_field: &|_| None,
        environ: &[],
        trace: Trace::default(),
    }
}

fn open(path: &Path) -> AccessLog {
    let format = Format::parse("%(r)s").unwrap();
    let target = LogTarget::File(path.to_owned());
    AccessLog::new(&target, format, Sink::open(&target).unwrap())
}

fn lost(log: &AccessLog) -> Option<u64> {
    log.writer.lost()
}

#[test]
fn lines_before_a_flush_are_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let log = open(&path);
    log.log(&request(b"/1"));
    log.log(&request(b"/2"));
    assert_eq!(std::fs::read(&path).unwrap(), b"");
    log.flush();
    let both = "GET /1 HTTP/1.1\nGET /2 HTTP/1.1\n";
    assert_eq!(std::fs::read_to_string(&path).unwrap(), both);
    log.flush();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), both);
}

#[test]
fn forked_child_writes_each_line_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let log = open(&path);
    log.writer.pretend_fork();
    log.log(&request(b"/"));
    assert_eq!(std::fs::read(&path).unwrap(), b"GET / HTTP/1.1\n");
}

#[test]
fn text_of_the_application_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let log = open(&path);
    log.log_text("a\nb");
    log.log_text("é");
    log.flush();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\\nb\né\n");
}

#[test]
fn excluded_request_is_not_logged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let log = open(&path).excluding(Exclusion::new(["^/1$"]).unwrap());
    log.log(&request(b"/1"));
    log.log(&request(b"/2"));
    log.flush();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "GET /2 HTTP/1.1\n");
}

#[test]
fn dropped_log_is_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    open(&path).log(&request(b"/"));
    assert_eq!(std::fs::read(&path).unwrap(), b"GET / HTTP/1.1\n");
}

#[test]
fn full_buffer_is_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let log = open(&path);
    let target = vec![b'/'; FLUSH_THRESHOLD_BYTES];
    log.log(&request(&target));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), FLUSH_THRESHOLD_BYTES as u64 + 14);
}

#[test]
fn lines_of_concurrent_threads_stay_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let log = open(&path);
    let line = "GET /some/path/to/fill/the/buffer HTTP/1.1";
    // Enough for some batches, but none is dropped if the thread that writes one is held up
    // meanwhile.
    let each = DROP_THRESHOLD_BYTES / 4 / (line.len() + 1);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..each {
                    log.log(&request(b"/some/path/to/fill/the/buffer"));
                }
                log.flush();
            });
        }
    });
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 4 * each);
    assert!(text.lines().all(|found| found == line));
    assert_eq!(lost(&log), None);
}

#[test]
fn stopped_reader_loses_lines_and_blocks_no_thread() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
    // Read and write, so that neither this open nor the log's waits for the other.
    let mut fifo = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let log = open(&path);

    let target = [b'/'; 1000];
    for _ in 0..1000 {
        log.log(&request(&target));
        log.flush();
    }
    let waiting = log.writer.buffered_bytes();
    assert!((DROP_THRESHOLD_BYTES..DROP_THRESHOLD_BYTES + 2000).contains(&waiting), "{waiting}");
    let known = lost(&log).unwrap();
    assert!(known > 100, "{known}");

    // The reader reads again: the buffered lines arrive whole, and no more are lost.
    let mut seen = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    while lost(&log).is_some() {
        let count = fifo.read(&mut piece).unwrap();
        seen.extend_from_slice(&piece[..count]);
        log.flush();
    }
    log.flush();
    log.log(&request(b"/last"));
    log.flush();
    while !seen.ends_with(b"GET /last HTTP/1.1\n") {
        let count = fifo.read(&mut piece).unwrap();
        seen.extend_from_slice(&piece[..count]);
        log.flush();
    }
    let lines: Vec<_> = seen.trim_ascii_end().split(|&byte| byte == b'\n').collect();
    assert_eq!(lines.len() as u64, 1001 - known);
    assert!(lines[..lines.len() - 1].iter().all(|line| line.len() == 1013));
}

#[cfg(target_os = "linux")]
#[test]
fn full_disk_drops_and_counts_the_batch() {
    let log = open(Path::new("/dev/full"));
    log.log(&request(b"/1"));
    log.log(&request(b"/2"));
    log.flush();
    assert_eq!(lost(&log), Some(2));
    assert_eq!(log.writer.buffered_bytes(), 0);
    log.log(&request(b"/3"));
    log.flush();
    assert_eq!(lost(&log), Some(3));
}
