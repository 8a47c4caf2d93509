//! What `rustwsgi ctl` prints of the state of a server.

use super::protocol::RequestInfo;
use super::status::{Status, WorkerStatus};
use super::table::{Align, Table, bytes, counted, duration, grouped, printable};

/// The server and its workers.
pub(super) fn status(status: &Status) -> String {
    let readiness = match &status.reason {
        _ if status.ready => "ready".to_owned(),
        Some(reason) => format!("not ready ({})", printable(reason)),
        None => "not ready".to_owned(),
    };
    let mut text = format!(
        "rustwsgi {}, master {}: {}, {readiness}\n",
        printable(&status.version),
        status.pid,
        printable(&status.stage)
    );
    text += &format!(
        "Up for {}: {}, {} ({} busy), {} queued\n",
        duration(status.uptime),
        counted(status.workers.len() as u64, "worker"),
        counted(status.threads, "thread"),
        status.threads_busy,
        counted(status.requests_queued, "request"),
    );
    text += &format!("Answered: {}", counted(status.totals.answered, "request"));
    let by_class = status.totals.by_class();
    let by_class = by_class.iter().map(|(class, count)| format!("{class}: {}", grouped(*count)));
    let by_class = by_class.collect::<Vec<_>>().join(", ");
    if !by_class.is_empty() {
        text += &format!(" ({})", printable(&by_class));
    }
    let sum = |counts: &std::collections::BTreeMap<String, u64>| counts.values().sum::<u64>();
    text += &format!(
        "; {} and {} since the start\n",
        counted(sum(&status.restarts), "restart"),
        counted(sum(&status.reloads), "reload")
    );
    if !status.workers.is_empty() {
        text += &format!("\n{}", workers(&status.workers));
    }
    text
}

fn workers(workers: &[WorkerStatus]) -> String {
    use Align::{Left, Right};
    let mut table = Table::new([
        ("WORKER", Right),
        ("STATE", Left),
        ("SINCE", Right),
        ("THREADS", Right),
        ("BUSY", Right),
        ("QUEUED", Right),
        ("CONNECTIONS", Right),
        ("ANSWERED", Right),
        ("MEMORY", Right),
        ("CPU", Right),
    ]);
    for worker in workers {
        table.add([
            worker.pid.to_string(),
            printable(&worker.state),
            duration(worker.time_in_state),
            worker.threads.to_string(),
            worker.threads_busy.to_string(),
            worker.queued.to_string(),
            grouped(worker.connections.values().sum()),
            grouped(worker.answered),
            worker.memory_bytes.map_or_else(|| "-".to_owned(), bytes),
            worker.cpu_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s")),
        ]);
    }
    table.render()
}

/// The requests of all workers, the oldest first.
pub(super) fn requests(status: &Status) -> String {
    use Align::{Left, Right};
    let mut table = Table::new([
        ("WORKER", Right),
        ("THREAD", Right),
        ("AGE", Right),
        ("PHASE", Left),
        ("METHOD", Left),
        ("TARGET", Left),
    ]);
    let requests = sorted_requests(status);
    if requests.is_empty() {
        return "No request runs or waits.\n".to_owned();
    }
    for (worker, request) in requests {
        table.add([
            worker.to_string(),
            request.thread.map_or_else(|| "-".to_owned(), |thread| thread.to_string()),
            duration(request.age),
            printable(&request.phase),
            printable(&request.method),
            printable(&request.target),
        ]);
    }
    table.render()
}

/// The requests of all workers with the workers' process ids, the oldest first.
pub(super) fn sorted_requests(status: &Status) -> Vec<(i32, &RequestInfo)> {
    let mut requests = Vec::new();
    for worker in &status.workers {
        requests.extend(worker.requests.iter().map(|request| (worker.pid, request)));
    }
    requests.sort_by(|(_, one), (_, other)| other.age.total_cmp(&one.age));
    requests
}
