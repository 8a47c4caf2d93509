use std::sync::Arc;
use std::time::Duration;

use super::upgrades::UPGRADE_ENTRIES;
use super::*;
use crate::sys::clock::{self, Moment};

fn slot(threads: usize) -> Arc<WorkerSlot> {
    Arc::new(WorkerSlot::new(threads).unwrap())
}

/// A request with this method and this target, and these times.
fn shown_at(line: &str, times: [Moment; 3]) -> Shown<'_> {
    let method_bytes = line.find(' ').unwrap();
    Shown { line: line.as_bytes(), method_bytes, numbers: times.map(Moment::as_nanos) }
}

fn answered(line: &str, status: u16, took: Duration) -> Answered<'_> {
    let started_at = clock::now();
    let ended_at = started_at + took;
    Answered {
        method: line.split(' ').next().unwrap().as_bytes(),
        status,
        received_bytes: 5,
        sent_bytes: 7,
        started_at,
        ready_at: started_at,
        began_at: Some(started_at),
        ended_at,
    }
}

#[test]
fn request_is_shown_from_its_begin_to_its_end() {
    let slot = slot(2);
    let row = slot.thread_row(1);
    let now = clock::now();
    assert_eq!(slot.read(now).requests, []);
    row.begin(shown_at("GET /slow", [now; 3]));
    let snapshot = slot.read(now + Duration::from_secs(2));
    assert_eq!((snapshot.threads, snapshot.running), (2, 1));
    let [request] = &snapshot.requests[..] else { panic!("{snapshot:?}") };
    assert_eq!((request.thread, request.phase), (Some(1), Phase::Running));
    assert_eq!((&request.method[..], &request.target[..]), (&b"GET"[..], &b"/slow"[..]));
    assert!((request.age - 2.0).abs() < 1e-6);
    row.adopt();
    enter_phase(Phase::Writing);
    assert_eq!(slot.read(now).requests[0].phase, Phase::Writing);
    row.begin(shown_at("GET /next", [now; 3]));
    assert_eq!(slot.read(now).requests[0].phase, Phase::Running);
    row.end();
    enter_phase(Phase::Writing);
    assert_eq!(slot.read(now).requests, []);
}

#[test]
fn upgraded_request_leaves_its_row_to_the_next_request() {
    let slot = slot(1);
    let row = slot.thread_row(0);
    let start = clock::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let long_line = format!("GET {}", "x".repeat(200));
    row.begin(shown_at(&long_line, [start, start, at(1)]));
    let shown = slot.show_upgrade(&row, 3, at(2));
    let snapshot = slot.read(at(9));
    assert_eq!((snapshot.running, snapshot.upgraded), (0, 1));
    let [request] = &snapshot.requests[..] else { panic!("{snapshot:?}") };
    assert_eq!((request.thread, request.phase), (None, Phase::Upgraded));
    assert!(request.target.ends_with(b"x...") && (request.age - 9.0).abs() < 1e-6);
    assert!(!snapshot.is_busy_for(5.0), "it is not queued");
    row.begin(shown_at("POST /next", [at(3); 3]));
    let phases = || slot.read(at(9)).requests.iter().map(|r| r.phase).collect::<Vec<_>>();
    assert_eq!(phases(), [Phase::Running, Phase::Upgraded]);
    drop(shown);
    assert_eq!((phases(), slot.read(at(9)).upgraded), (vec![Phase::Running], 0));
    let mut totals = Totals::default();
    totals.add(&slot);
    assert_eq!((totals.requests[0], totals.answered()), ([1, 0, 0, 0, 0, 0], 1));
    assert_eq!((totals.body_bytes.received, totals.duration.count()), (3, 1));
}

#[test]
fn upgrades_that_the_table_has_no_place_for_are_counted() {
    let slot = slot(1);
    let row = slot.thread_row(0);
    let now = clock::now();
    let upgrade = || {
        row.begin(shown_at("GET /", [now; 3]));
        slot.show_upgrade(&row, 0, now)
    };
    let mut shown: Vec<_> = (0..UPGRADE_ENTRIES + 3).map(|_| upgrade()).collect();
    let counts = || (slot.read(now).upgraded, slot.read(now).requests.len());
    assert_eq!(counts(), (UPGRADE_ENTRIES as u64 + 3, UPGRADE_ENTRIES));
    drop(shown.pop());
    drop(shown.remove(1));
    assert_eq!(counts(), (UPGRADE_ENTRIES as u64 + 1, UPGRADE_ENTRIES - 1));
    shown.push(upgrade());
    assert_eq!(counts(), (UPGRADE_ENTRIES as u64 + 2, UPGRADE_ENTRIES));
    shown.clear();
    assert_eq!(counts(), (0, 0));
}

#[test]
fn queue_is_shown_as_far_as_its_table_reaches() {
    let slot = slot(1);
    let now = clock::now();
    let lines: Vec<_> = (0..20).map(|number| format!("POST /{number}")).collect();
    slot.show_queued(20);
    slot.show_queue(lines.iter().map(|line| shown_at(line, [now; 3])));
    let snapshot = slot.read(clock::now());
    assert_eq!((snapshot.queued, snapshot.requests.len()), (20, QUEUE_ENTRIES));
    assert!(snapshot.requests.iter().all(|request| request.phase == Phase::Queued));
    slot.thread_row(0).attach();
    let phases: Vec<_> = slot.read(clock::now()).requests.iter().map(|r| r.phase).collect();
    assert_eq!(phases[..2], [Phase::WaitingForInterpreter, Phase::Queued]);
    slot.thread_row(0).attached();
    slot.show_queued(0);
    assert_eq!(slot.read(clock::now()).requests, [], "the table was not written since");
}

#[test]
fn totals_are_the_sum_over_threads_and_workers() {
    let workers = [slot(2), slot(1)];
    for (worker, slot) in workers.iter().enumerate() {
        slot.thread_row(0).count(answered("GET /x", 200, Duration::from_micros(10)), || b"GET /x");
        slot.thread_row(worker)
            .count(answered("BREW /x", 500, Duration::from_secs(2)), || b"BREW /x");
        let poller = Answered { began_at: None, ..answered("GET /x", 404, Duration::ZERO) };
        slot.poller_row().count(poller, || b"GET /x");
        slot.count_limit(3, 1);
        slot.count_accepted();
    }
    let mut totals = Totals::default();
    workers.iter().for_each(|slot| totals.add(slot));
    assert_eq!(totals.answered(), 6);
    assert_eq!((totals.requests[0], totals.requests[9]), ([0, 2, 0, 2, 0, 0], [0, 0, 0, 0, 2, 0]));
    assert_eq!((totals.duration.count(), totals.queue.count(), totals.app.count()), (6, 4, 4));
    assert_eq!((totals.body_bytes.received, totals.body_bytes.sent), (30, 42));
    assert_eq!((totals.accepted, totals.limits[3]), (2, 2));
    let slow: Vec<_> = workers[1].slow_requests().map(|slow| (slow.method, slow.status)).collect();
    assert_eq!(slow, [(b"BREW".to_vec(), 500)]);
}

#[test]
fn worker_is_busy_if_no_thread_has_been_free_for_long() {
    let slot = slot(2);
    let start = clock::now();
    let at = |seconds| slot.read(start + Duration::from_secs(seconds));
    slot.thread_row(0).begin(shown_at("GET /", [start; 3]));
    assert!(!at(10).is_busy_for(5.0), "a thread is free");
    slot.thread_row(1).begin(shown_at("GET /", [start; 3]));
    assert!(at(10).is_busy_for(5.0) && !at(4).is_busy_for(5.0));
    let later = start + Duration::from_secs(9);
    slot.thread_row(1).begin(shown_at("GET /", [later; 3]));
    assert!(!at(10).is_busy_for(5.0), "a thread has just begun another one");
    slot.show_queued(1);
    slot.show_queue(std::iter::once(shown_at("GET /", [start; 3])));
    assert!(at(10).is_busy_for(5.0), "a request has waited for as long");
}
