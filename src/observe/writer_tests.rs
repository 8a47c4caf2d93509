//! Tests of the writer: full and broken sinks, threads, forks. Those of the access log show what
//! happens to its lines.

use std::fs::File;
use std::io::{PipeReader, Read as _};
use std::os::fd::OwnedFd;

use super::registry::{hold_all, release_all};
use super::*;
use crate::observe::LogTarget;
use crate::sys::fork_free::ForkFree;

fn pipe() -> (OwnedWriter, PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    (OwnedWriter::new(Sink::from(File::from(OwnedFd::from(writer)))), reader)
}

fn add(writer: &LogWriter, line: &str) -> usize {
    writer.append(1, |buffer| buffer.extend_from_slice(line.as_bytes()))
}

/// Adds and writes lines until the pipe and the buffer are full; returns how many.
fn fill(writer: &LogWriter) -> u64 {
    let line = "x".repeat(999) + "\n";
    let mut count = 0;
    while add(writer, &line) < DROP_THRESHOLD_BYTES {
        count += 1;
        assert_eq!(writer.write_through(), Outcome::Quiet);
    }
    count + 1
}

#[test]
fn lines_beyond_the_bound_are_dropped_counted_and_reported() {
    let (writer, mut reader) = pipe();
    let kept = fill(&writer);
    assert!(writer.has_backlog());
    for _ in 0..3 {
        add(&writer, "dropped\n");
    }
    assert!(matches!(writer.write(), Outcome::Failing(why) if why.contains("keep up")));
    add(&writer, "dropped\n");
    assert_eq!(writer.write(), Outcome::Quiet, "reported once");

    // The reader reads again: what was kept comes in order, then the number of the others.
    let mut seen = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    let lost = loop {
        let count = reader.read(&mut piece).unwrap();
        seen.extend_from_slice(&piece[..count]);
        if let Outcome::Recovered(lost) = writer.write() {
            break lost;
        }
    };
    assert_eq!(lost, 4);
    assert!(!writer.has_backlog());
    while seen.len() < kept as usize * 1000 {
        let count = reader.read(&mut piece).unwrap();
        seen.extend_from_slice(&piece[..count]);
    }
    assert!(seen.chunks(1000).all(|line| line[..999].iter().all(|&byte| byte == b'x')));
}

#[test]
fn line_is_written_before_write_through_returns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let writer = OwnedWriter::new(Sink::open(&LogTarget::File(path.clone())).unwrap());
    std::thread::scope(|scope| {
        let threads = ["a", "b", "c"].map(|name| {
            let (writer, path) = (&writer, &path);
            scope.spawn(move || {
                for number in 0..200 {
                    let line = format!("{name}{number}\n");
                    add(writer, &line);
                    writer.write_through();
                    assert!(std::fs::read_to_string(path).unwrap().contains(&line), "{line}");
                }
            })
        });
        // The thread sanitizer sees that a join comes after the thread, but not the scope's end.
        for thread in threads {
            thread.join().unwrap();
        }
    });
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 600);
}

#[test]
fn buffered_lines_go_to_the_new_sink_from_the_next_whole_line_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let (writer, _reader) = pipe();
    let kept = fill(&writer);
    writer.redirect(Sink::open(&LogTarget::File(path.clone())).unwrap());
    add(&writer, "new\n");
    writer.write();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines.len() > 200 && (lines.len() as u64) < kept);
    assert!(lines[..lines.len() - 1].iter().all(|line| line.len() == 999));
    assert_eq!(lines.last(), Some(&"new"));
}

#[cfg(target_os = "linux")]
#[test]
fn line_after_one_that_was_torn_by_an_error_starts_anew() {
    let _fork_free = ForkFree::new();
    let (writer, reader) = pipe();
    fill(&writer);
    drop(reader);
    assert!(matches!(writer.write(), Outcome::Failing(_)), "a part of it was written");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    writer.lock().is_torn = true;
    writer.lock().sink = Some(Arc::new(Sink::open(&LogTarget::File(path.clone())).unwrap()));
    add(&writer, "new\n");
    assert!(matches!(writer.write(), Outcome::Recovered(lost) if lost > 200));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "\nnew\n");
}

#[test]
fn fork_takes_all_locks_and_gives_the_child_an_empty_buffer() {
    let (writer, _reader) = pipe();
    fill(&writer);
    writer.lock().is_writing = true;
    hold_all();
    assert!(writer.state.try_lock().is_err());
    release_all();
    assert!(writer.lock().is_writing && writer.has_backlog(), "nothing changes in the parent");
    // As in the child; not `reset_all`, as other tests write to their logs.
    let mut state = writer.lock();
    state.reset();
    assert!(state.buffer.is_empty() && !state.is_writing && state.sink.is_some());
}

#[test]
fn writer_of_a_closed_log_is_used_again() {
    let is_used_again = || {
        let writer: *const LogWriter = {
            let (writer, _reader) = pipe();
            fill(&writer);
            writer.0
        };
        // Other tests open logs meanwhile.
        let logs: Vec<_> = (0..100).map(|_| OwnedWriter::new(Sink::nowhere())).collect();
        assert!(logs.iter().all(|log| log.lock().buffer.is_empty() && !log.has_backlog()));
        logs.iter().any(|log| std::ptr::eq(log.0, writer))
    };
    // One of them may be quicker.
    assert!((0..20).any(|_| is_used_again()));
}

#[test]
fn end_of_the_process_waits_for_a_reader_that_reads() {
    let (writer, mut reader) = pipe();
    fill(&writer);
    std::thread::scope(|scope| {
        // The thread closes its end itself: no other one does while it reads.
        scope.spawn(move || {
            let mut piece = vec![0; 64 * 1024];
            while reader.read(&mut piece).is_ok_and(|count| count > 0) {}
        });
        writer.write_until(Instant::now() + Duration::from_secs(60));
        assert!(!writer.has_backlog());
        drop(writer);
    });
}
