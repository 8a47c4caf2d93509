//! The hand-over between threads under a model checker: the dispatcher, the scheduler, the poller,
//! the write halves and real sockets, while shuttle decides which thread makes the next step. `make
//! model` runs it; see docs/decisions/0001-thread-roles.md for what it covers and what it does not.
//!
//! [`site`] is the server, with a lock in place of Python, and [`client`] its clients. Shuttle
//! reports a deadlock when no thread can continue. So a thread that blocks forever is found, and a
//! lost wake-up as well: the sentinel, which would check again, sleeps once everything seems to be
//! polled.

mod client;
mod site;

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use shuttle::rand::Rng as _;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::thread;

use crate::sync::kernel;
use client::{make_requests, read_response, read_some};
use site::{Kind, Site};

/// Tries many orders of steps: some at random, some with few changes of thread at random places,
/// which finds defects that need one thread to be slow for long. [Burckhardt et al., ASPLOS 2010]
fn explore(test: impl Fn() + Send + Sync + Copy + 'static) {
    let requested = std::env::var("MODEL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let rounds = requested.unwrap_or(1_000);
    site::prepare();
    let run = |scheduler: Box<dyn Scheduler + Send>| {
        let mut config = shuttle::Config::new();
        config.stack_size = 256 * 1024;
        config.max_steps = shuttle::MaxSteps::FailAfter(100_000);
        config.silence_warnings = true;
        // A slow machine tries fewer orders; all tests together take less than a minute.
        config.max_time = requested.is_none().then_some(Duration::from_secs(4));
        shuttle::Runner::new(scheduler, config).run(test);
    };
    run(Box::new(RandomScheduler::new(rounds)));
    run(Box::new(PctScheduler::new(3, rounds)));
}

/// Serves these clients until each has all its responses.
fn serve_all(worker_threads: usize, clients: &'static [&'static [(Kind, usize)]], pipelined: bool) {
    serve_all_on(1, worker_threads, clients, pipelined);
}

fn serve_all_on(
    parallel: usize,
    worker_threads: usize,
    clients: &'static [&'static [(Kind, usize)]],
    pipelined: bool,
) {
    let requests = clients.iter().map(|requests| requests.len()).sum();
    let (site, threads) = Site::open(worker_threads, parallel, requests);
    let clients: Vec<_> = clients
        .iter()
        .map(|&requests| {
            let site = site.clone();
            thread::spawn(move || {
                assert_eq!(
                    make_requests(&site, requests, pipelined),
                    requests.len(),
                    "responses are missing"
                );
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    site.finish(threads);
    let runs = site.runs();
    assert!(runs.iter().all(|&runs| runs == 1), "{runs:?}");
}

#[test]
fn short_requests_are_each_answered_once() {
    use Kind::Short;
    explore(|| serve_all(2, &[&[(Short, 0), (Short, 1)], &[(Short, 2)]], false));
}

#[test]
fn single_worker_thread_answers_all() {
    use Kind::{Blocks, Short};
    explore(|| serve_all(1, &[&[(Short, 0), (Blocks, 1)], &[(Short, 2)]], false));
}

#[test]
fn request_that_waits_for_another_is_answered() {
    use Kind::{After, Short};
    explore(|| serve_all(2, &[&[(After(1), 0)], &[(Short, 1), (Short, 2)]], false));
}

#[test]
fn overdue_request_is_answered_once_by_its_thread_or_the_poller() {
    use Kind::{Overdue, Short};
    explore(|| serve_all(2, &[&[(Overdue, 0), (Short, 1)], &[(Overdue, 2)]], false));
    explore(|| serve_all(1, &[&[(Overdue, 0), (Overdue, 1)]], false));
}

#[test]
fn requests_are_polled_while_all_threads_are_blocked() {
    // The first two requests wait for later ones, which only a third thread can run. Those have to
    // be accepted and read while the other threads are inside the application.
    use Kind::{After, Short};
    explore(|| {
        serve_all(3, &[&[(After(2), 0)], &[(After(3), 1)], &[(Short, 2), (Short, 3)]], false)
    });
}

#[test]
fn streamed_blocks_are_sent_by_the_poller() {
    use Kind::{After, Blocks};
    explore(|| serve_all(2, &[&[(Blocks, 0), (Blocks, 1)], &[(After(0), 2)]], false));
}

#[test]
fn streamed_block_is_sent_while_the_application_waits() {
    // The client makes the second request once it has read the first block, and nothing else
    // happens that could send that block. [PEP 3333, "Buffering and Streaming"]
    use Kind::{Between, Short};
    explore(|| {
        let (site, threads) = Site::open(2, 1, 2);
        let mut stream = UnixStream::connect_addr(&site.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let request = format!("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", Between(1).target(0));
        stream.write_all(request.as_bytes()).unwrap();
        kernel::changed();
        let mut seen = Vec::new();
        while !seen.ends_with(b"xx\r\n") {
            assert!(read_some(&mut stream, &mut seen));
        }
        assert_eq!(make_requests(&site, &[(Short, 1)], false), 1);
        assert!(read_response(&mut stream, &mut seen));
        drop(stream);
        kernel::changed();
        site.finish(threads);
        assert_eq!(site.runs(), [1, 1]);
    });
}

#[test]
fn pipelined_requests_are_each_answered_once() {
    use Kind::{Blocks, Short};
    explore(|| serve_all(2, &[&[(Short, 0), (Blocks, 1), (Short, 2)], &[(Short, 3)]], true));
}

#[test]
fn interpreter_without_a_gil_runs_requests_in_parallel() {
    use Kind::{After, Blocks, Short};
    explore(|| serve_all_on(2, 3, &[&[(After(1), 0)], &[(Blocks, 1), (Short, 2)]], false));
}

#[test]
fn thread_without_a_gil_sends_what_the_socket_takes() {
    // The poller sends what is large, or behind bytes that wait, and the rest of what the thread
    // has sent.
    use Kind::{Large, Overdue, Short};
    explore(|| serve_all_on(2, 2, &[&[(Large, 0), (Short, 1)], &[(Overdue, 2), (Short, 3)]], true));
}

#[test]
fn response_larger_than_the_socket_buffer_is_sent_whole() {
    use Kind::{Large, Short};
    explore(|| serve_all(2, &[&[(Large, 0)], &[(Short, 1)]], false));
}

#[test]
fn shutdown_during_requests_answers_those_that_began() {
    // Every request that began is answered in full, and every thread ends.
    use Kind::{Blocks, Short};
    explore(|| {
        let (site, threads) = Site::open(2, 1, 3);
        let clients: [&'static [(Kind, usize)]; 2] = [&[(Short, 0), (Short, 1)], &[(Blocks, 2)]];
        let clients = clients.map(|requests| {
            let site = site.clone();
            thread::spawn(move || make_requests(&site, requests, false))
        });
        site.finish(threads);
        let complete: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
        let runs = site.runs();
        assert!(runs.iter().all(|&runs| runs <= 1), "{runs:?}");
        assert_eq!(runs.iter().sum::<u32>() as usize, complete, "responses are missing");
    });
}

#[test]
fn client_that_leaves_during_a_response_frees_its_thread() {
    // The thread that makes the response may wait for the client to read, and must see that it has
    // left.
    use Kind::{Large, Short};
    explore(|| {
        let (site, threads) = Site::open(2, 1, 2);
        let leaver = {
            let site = site.clone();
            thread::spawn(move || {
                let mut stream = UnixStream::connect_addr(&site.address).unwrap();
                let request = format!("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", Large.target(0));
                stream.write_all(request.as_bytes()).unwrap();
                kernel::changed();
                thread::yield_now();
                drop(stream);
                kernel::changed();
            })
        };
        assert_eq!(make_requests(&site, &[(Short, 1)], false), 1);
        leaver.join().unwrap();
        site.finish(threads);
        let runs = site.runs();
        assert!(runs[0] <= 1 && runs[1] == 1, "{runs:?}");
    });
}

#[test]
fn request_of_a_worker_without_a_free_thread_runs_in_another() {
    // Each worker may run the request that waits, and only the other one can then run the second.
    use Kind::{After, Short};
    explore(|| {
        let [(one, threads), (two, more)] = Site::open_two(3);
        let clients: [&'static [(Kind, usize)]; 2] = [&[(After(1), 0)], &[(Short, 1), (Short, 2)]];
        let clients = clients.map(|requests| {
            let site = one.clone();
            thread::spawn(move || make_requests(&site, requests, false))
        });
        let complete: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
        one.finish(threads);
        two.finish(more);
        assert_eq!((one.runs(), complete), (vec![1, 1, 1], 3));
    });
}

#[test]
fn workers_that_stop_at_any_moment_lose_and_double_no_request() {
    use Kind::{Blocks, Short};
    explore(|| {
        let [(one, threads), (two, more)] = Site::open_two(4);
        let clients: [&'static [(Kind, usize)]; 2] =
            [&[(Blocks, 0), (Blocks, 1)], &[(Blocks, 2), (Short, 3)]];
        let clients = clients.map(|requests| {
            let site = one.clone();
            thread::spawn(move || make_requests(&site, requests, false))
        });
        // Both end at about the same time, so neither can rely on the other one.
        let stopper = {
            let two = two.clone();
            thread::spawn(move || {
                let_others_run();
                two.finish(more);
            })
        };
        let_others_run();
        if shuttle::rand::thread_rng().r#gen() {
            one.dispatcher.handle.retire();
            let_others_run();
        }
        one.finish(threads);
        let complete: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
        stopper.join().unwrap();
        let runs = two.runs();
        assert!(runs.iter().all(|&runs| runs <= 1), "{runs:?}");
        assert_eq!(runs.iter().sum::<u32>() as usize, complete, "responses are missing");
    });
}

/// Lets a random number of steps of other threads pass.
fn let_others_run() {
    for _ in 0..shuttle::rand::thread_rng().r#gen::<u8>() {
        thread::yield_now();
    }
}
