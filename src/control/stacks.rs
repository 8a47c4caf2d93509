//! `rustwsgi ctl stacks`: what the threads of workers do.

use serde_json::{Value, json};

use super::client::{Failure, Server};
use super::inspection::{Frame, StacksReport, ThreadReport};
use super::protocol::Command;
use super::table::{duration, printable};
use super::workers::{self, Timeout};

/// The stacks of a worker, or of all workers. With `json` the reports, else text.
///
/// # Errors
/// If one of the workers does not answer. The stacks of the others are part of the message.
pub(super) fn stacks(
    server: &Server,
    worker: Option<i32>,
    timeout: Timeout,
    json: bool,
) -> Result<String, Failure> {
    let pids = workers::pids(server, worker, timeout)?;
    let reports = workers::ask_all::<StacksReport>(server, &pids, timeout, |worker| {
        Command::Stacks { worker }
    });
    let text = match json {
        true => {
            let of = |(pid, report): &(i32, Result<StacksReport, Failure>)| match report {
                Ok(report) => json!(report),
                Err(failure) => json!({"pid": pid, "error": failure.to_string()}),
            };
            Value::Array(reports.iter().map(of).collect()).to_string()
        }
        false => {
            let answered = reports.iter().filter_map(|(_, report)| report.as_ref().ok());
            answered.map(render).collect::<Vec<_>>().join("\n")
        }
    };
    workers::with_failures(text, &reports)
}

fn render(report: &StacksReport) -> String {
    let mut text = format!("Worker {}\n", report.pid);
    if let Some(note) = &report.note {
        text += &format!("  Note: {}\n", printable(note));
    }
    report.threads.iter().for_each(|thread| text += &render_thread(thread));
    text
}

fn render_thread(thread: &ThreadReport) -> String {
    let name = match &thread.name {
        Some(name) => printable(name),
        None => format!("{:#x}", thread.ident),
    };
    let what = match &thread.request {
        Some(request) => format!(
            "{} {}, {} for {}",
            printable(&request.method),
            printable(&request.target),
            printable(&request.phase),
            duration(request.age)
        ),
        None => "no request".to_owned(),
    };
    let mut text = format!("\n  Thread {name}: {what} (most recent call first)\n");
    for native in &thread.native {
        text += &format!("    native: {}\n", printable(native));
    }
    for Frame { function, file, line } in &thread.frames {
        text +=
            &format!("    File \"{}\", line {line}, in {}\n", printable(file), printable(function));
    }
    match &thread.unread {
        Some(reason) => text += &format!("    unknown: {}\n", printable(reason)),
        None if thread.frames.is_empty() => text += "    no Python code\n",
        None => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::RequestInfo;

    #[test]
    fn threads_are_shown_with_their_requests() {
        let thread = ThreadReport {
            ident: 255,
            name: None,
            request: Some(RequestInfo {
                thread: Some(0),
                method: "GET".to_owned(),
                target: "/a\x1b".to_owned(),
                age: 2.5,
                phase: "running".to_owned(),
            }),
            frames: vec![Frame { function: "view".into(), file: "/a.py".into(), line: 3 }],
            native: vec!["libc.so.6(sleep+0x4)".to_owned()],
            unread: None,
        };
        let idle = ThreadReport {
            name: Some("MainThread".to_owned()),
            request: None,
            frames: Vec::new(),
            native: Vec::new(),
            ..thread.clone()
        };
        let silent = ThreadReport {
            name: Some("rustwsgi-1".to_owned()),
            unread: Some("it did not answer within 200 ms".to_owned()),
            ..idle.clone()
        };
        let (note, threads) = (Some("late".to_owned()), vec![thread, idle, silent]);
        let report = StacksReport { pid: 7, note, threads };
        let expected = "Worker 7\n  Note: late\n\n  Thread 0xff: GET /a\\u{1b}, running for 2.5 s \
                        (most recent call first)\n    native: libc.so.6(sleep+0x4)\n    File \
                        \"/a.py\", line 3, in view\n\n  Thread MainThread: no request (most recent \
                        call first)\n    no Python code\n\n  Thread rustwsgi-1: no request (most \
                        recent call first)\n    unknown: it did not answer within 200 ms\n";
        assert_eq!(render(&report), expected);
    }
}
