//! A dispatcher whose threads have ended unexpectedly, and one whose leader polls.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::time::Duration;

use super::{Dispatcher, Overdue, RunningRequests};
use crate::config::{self, Bind, Settings};
use crate::net::{BindOptions, Poller, bind};

struct NoRequests;

impl RunningRequests for NoRequests {
    fn take_overdue(&self) -> Overdue {
        Overdue::default()
    }
}

/// A dispatcher with one worker thread, for clients of a unix socket.
fn dispatcher(path: &Path) -> Dispatcher {
    let options = BindOptions::with_backlog(16);
    let listeners = bind(&Bind::Unix(path.to_owned()), options).unwrap();
    let settings = config::parse_api(&[]).unwrap();
    let settings = Arc::new(Settings { threads: 1, ..settings });
    let network = Poller::new(listeners, settings.clone(), None).unwrap();
    let multiprocess = Arc::new(AtomicBool::new(true));
    Dispatcher::new(network, 1, &settings, multiprocess, &Arc::new(NoRequests))
}

/// A worker thread may become the leader just before the sentinel polls, and may block in its poll
/// for long. Only the sentinel notices a thread that blocks in the application meanwhile.
#[test]
fn sentinel_does_not_wait_for_a_leader_that_polls() {
    let directory = tempfile::tempdir().unwrap();
    let dispatcher = &dispatcher(&directory.path().join("s"));
    let leader = dispatcher.poller.lock().unwrap();
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        scope.spawn(move || sender.send(dispatcher.poll_as_sentinel().len()));
        let polled = receiver.recv_timeout(Duration::from_secs(60));
        // Ends a sentinel that waits.
        drop(leader);
        dispatcher.handle.wake();
        assert_eq!(polled, Ok(0));
    });
}

/// A regression test: clients were accepted that no thread could serve, and they kept the process
/// from ending.
#[test]
fn server_without_threads_accepts_nobody_and_rejects_who_waits_at_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let dispatcher = dispatcher(&path);
    let poll = || {
        let mut ready = Vec::new();
        dispatcher.poll_as_worker_thread(Some(1), &mut ready, |_| true);
        dispatcher.scheduler.finish_poll(Some(0), ready, &*dispatcher.handle);
    };
    let client = || {
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        client
    };
    let open = || dispatcher.poller.lock().unwrap().open();

    let mut queued = client();
    poll();
    assert_eq!((open(), dispatcher.scheduler.load().queued), (1, 1));
    dispatcher.remove_thread(Some(0));
    let _waiting = client();
    poll();
    poll();
    assert_eq!(open(), 1, "the second client is left to the successor");
    dispatcher.handle.retire();
    let reader = std::thread::spawn(move || {
        let mut response = Vec::new();
        queued.read_to_end(&mut response).unwrap();
        response
    });
    while !dispatcher.poller.lock().unwrap().is_finished() {
        dispatcher.poll_as_worker_thread(None, &mut Vec::new(), |_| false);
    }
    assert!(reader.join().unwrap().starts_with(b"HTTP/1.1 503 "));
}
