//! Draws the view. What comes from clients and workers is printable here already.

use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table};

use super::super::protocol::RequestInfo;
use super::super::report::sorted_requests;
use super::super::status::{Status, WorkerStatus};
use super::super::table::{bytes, counted, duration, grouped, printable};
use super::history::{History, Latency};
use super::view::View;

/// Requests of this age are highlighted.
const SLOW: f64 = 1.0;
const VERY_SLOW: f64 = 10.0;
/// A state that is older than this is marked.
const STALE: Duration = Duration::from_secs(5);

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, now: Instant) {
    let Some(status) = view.history.latest() else { return };
    let workers = u16::try_from(status.workers.len()).unwrap_or(u16::MAX).saturating_add(2);
    let most = (frame.area().height / 3).max(3);
    let [head, chart, of_workers, of_requests, foot] = Layout::vertical([
        Constraint::Length(4),
        Constraint::Length(4),
        Constraint::Length(workers.min(most)),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(header(status, &view.history)), head);
    draw_rates(frame, chart, &view.history);
    frame.render_widget(workers_table(status, &view.history), of_workers);
    frame.render_widget(requests_table(status, view.scrolled), of_requests);
    frame.render_widget(footer(view, now), foot);
}

fn header(status: &Status, history: &History) -> Vec<Line<'static>> {
    let readiness = match &status.reason {
        _ if status.ready => "ready".green(),
        Some(reason) => format!("not ready: {}", printable(reason)).red(),
        None => "not ready".red(),
    };
    let classes = history.class_rates().into_iter().map(|(class, rate)| {
        let style = match class.as_str() {
            "5xx" if rate > 0.0 => Style::new().red(),
            "4xx" if rate > 0.0 => Style::new().yellow(),
            _ => Style::new(),
        };
        Span::styled(format!("  {} {}", printable(&class), per_second(rate)), style)
    });
    let busy = format!("{} of {} busy", status.threads_busy, counted(status.threads, "thread"));
    let is_full = status.threads > 0 && status.threads_busy >= status.threads;
    let queued = format!("{} queued", grouped(status.requests_queued));
    vec![
        Line::from(vec![
            "rustwsgi ".bold(),
            format!("{}  ", printable(&status.version)).bold(),
            format!("pid {}  {}  ", status.pid, printable(&status.stage)).into(),
            readiness,
            format!("  up {}", duration(status.uptime)).into(),
        ]),
        Line::from_iter(
            [counted(status.totals.answered, "request").into()].into_iter().chain(classes),
        ),
        Line::from(latencies(history)),
        Line::from(vec![
            if is_full { busy.yellow() } else { busy.into() },
            "  ".into(),
            if status.requests_queued > 0 { queued.yellow() } else { queued.into() },
            format!(
                "  {}  {}",
                counted(status.restarts.values().sum(), "restart"),
                counted(status.reloads.values().sum(), "reload")
            )
            .into(),
        ]),
    ]
}

fn latencies(history: &History) -> String {
    let Some([p50, p95, p99]) = history.latencies([0.5, 0.95, 0.99]) else {
        return "no request was answered in the last 10 s".to_owned();
    };
    let shown = |latency| match latency {
        Latency::Seconds(seconds) if seconds < 0.01 => format!("{:.1} ms", seconds * 1000.0),
        Latency::Seconds(seconds) => duration(seconds),
        Latency::Beyond(bound) => format!("over {}", duration(bound)),
    };
    format!("latency in the last 10 s: p50 {}  p95 {}  p99 {}", shown(p50), shown(p95), shown(p99))
}

fn per_second(rate: f64) -> String {
    if rate >= 10.0 {
        format!("{}/s", grouped(rate.round() as u64))
    } else {
        format!("{rate:.1}/s")
    }
}

fn draw_rates(frame: &mut Frame<'_>, area: Rect, history: &History) {
    let rates = history.rates();
    let newest = rates.last().copied().unwrap_or_default();
    let most = rates.iter().copied().fold(0.0, f64::max);
    let title = format!("requests {}, at most {}", per_second(newest), per_second(most));
    // As many as fit, the newest at the right.
    let width = usize::from(area.width);
    let shown = &rates[rates.len().saturating_sub(width)..];
    let missing = std::iter::repeat_n(0, width - shown.len());
    let bars: Vec<u64> = missing.chain(shown.iter().map(|rate| rate.round() as u64)).collect();
    let chart = Sparkline::default().data(bars).style(Style::new().cyan());
    frame.render_widget(chart.block(Block::new().borders(Borders::TOP).title(title)), area);
}

fn table<'a, const N: usize>(
    title: String,
    header: [&'static str; N],
    widths: [Constraint; N],
    rows: impl IntoIterator<Item = Row<'a>>,
) -> Table<'a> {
    Table::new(rows, widths)
        .header(Row::new(header).style(Style::new().bold()))
        .column_spacing(2)
        .block(Block::new().borders(Borders::TOP).title(title))
}

fn workers_table<'a>(status: &'a Status, history: &History) -> Table<'a> {
    use Constraint::Length;
    let row = |worker: &'a WorkerStatus| {
        let rate = history.worker_rate(worker.pid).map_or_else(dash, per_second);
        let cpu = history.worker_cpu(worker.pid);
        let state = printable(&worker.state);
        let is_ready = worker.state == "ready";
        Row::new([
            Cell::from(worker.pid.to_string()),
            Cell::from(if is_ready { state.green() } else { state.yellow() }),
            Cell::from(duration(worker.time_in_state)),
            Cell::from(format!("{}/{}", worker.threads_busy, worker.threads)),
            Cell::from(worker.queued.to_string()),
            Cell::from(grouped(worker.connections.values().sum())),
            Cell::from(rate),
            Cell::from(cpu.map_or_else(dash, |share| format!("{:.0} %", share * 100.0))),
            Cell::from(worker.memory_bytes.map_or_else(dash, bytes)),
        ])
    };
    table(
        "workers".to_owned(),
        ["PID", "STATE", "SINCE", "BUSY", "QUEUED", "CONNS", "RATE", "CPU", "MEMORY"],
        [8, 9, 12, 9, 6, 7, 9, 6, 10].map(Length),
        status.workers.iter().map(row),
    )
}

fn dash() -> String {
    "-".to_owned()
}

fn requests_table(status: &Status, scrolled: usize) -> Table<'_> {
    use Constraint::{Length, Min};
    let requests = sorted_requests(status);
    let title = match requests.len() {
        1 => "1 request runs or waits".to_owned(),
        count => format!("{count} requests run or wait, the oldest first"),
    };
    let row = |(worker, request): (i32, &RequestInfo)| {
        let age = duration(request.age);
        Row::new([
            Cell::from(worker.to_string()),
            Cell::from(match request.age {
                age_s if age_s >= VERY_SLOW => age.red().bold(),
                age_s if age_s >= SLOW => age.yellow(),
                _ => age.into(),
            }),
            Cell::from(Span::styled(printable(&request.phase), phase_style(&request.phase))),
            Cell::from(printable(&request.method)),
            Cell::from(printable(&request.target)),
        ])
    };
    table(
        title,
        ["WORKER", "AGE", "PHASE", "METHOD", "TARGET"],
        [Length(8), Length(12), Length(27), Length(8), Min(10)],
        requests.into_iter().skip(scrolled).map(row),
    )
}

fn phase_style(phase: &str) -> Style {
    match phase {
        "running" => Style::new().fg(Color::Green),
        "queued" => Style::new().fg(Color::Yellow),
        "writing" => Style::new().fg(Color::Cyan),
        _ => Style::new().fg(Color::Magenta),
    }
}

fn footer(view: &View, now: Instant) -> Line<'static> {
    let age = view.history.latest_at().map(|at| now.saturating_duration_since(at));
    if let Some(failure) = &view.failure {
        let since = age.map_or_else(dash, |age| duration(age.as_secs_f64()));
        return format!("no answer for {since}: {}", printable(failure)).red().into();
    }
    let keys = "q quit   p pause   up/down scroll";
    match age {
        _ if view.is_paused => format!("{keys}   PAUSED").yellow().into(),
        Some(age) if age > STALE => {
            format!("{keys}   {} old", duration(age.as_secs_f64())).yellow().into()
        }
        _ => keys.dark_gray().into(),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::super::client::Failure;
    use super::*;

    fn drawn(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view, Instant::now())).unwrap();
        terminal.backend().to_string()
    }

    fn view() -> View {
        let document = serde_json::json!({
            "version": "0.1.0", "pid": 41, "uptime": 125.0, "stage": "serving", "ready": true,
            "threads": 8, "threads_busy": 1, "requests_queued": 2,
            "restarts": {"killed": 1}, "reloads": {"succeeded": 3},
            "totals": {"answered": 1234, "requests": {"GET": {"2xx": 1200, "5xx": 34}}},
            "workers": [{
                "pid": 42, "state": "ready", "time_in_state": 120.0,
                "threads": 8, "threads_busy": 1,
                "connections": {"idle": 5, "active": 1}, "memory_bytes": 33_554_432_u64,
                "requests": [
                    {"thread": 0, "method": "GET", "target": "/a\u{1b}[2J", "age": 0.5,
                     "phase": "running"},
                    {"thread": null, "method": "POST", "target": "/old", "age": 12.0,
                     "phase": "queued"},
                ],
            }],
        });
        let mut view = View::default();
        view.receive(Instant::now(), Ok(serde_json::from_value(document).unwrap()));
        view
    }

    #[test]
    fn screen_shows_the_server_and_its_requests() {
        let text = drawn(&view(), 100, 24);
        for expected in [
            "rustwsgi 0.1.0  pid 41  serving  ready  up 2 min 5 s",
            "1,234 requests",
            "1 of 8 threads busy  2 queued  1 restart  3 reloads",
            "42        ready",
            "32.0 MiB",
            "2 requests run or wait",
            "/a\\u{1b}[2J",
            "q quit",
        ] {
            assert!(text.contains(expected), "{expected:?} is missing:\n{text}");
        }
        assert!(text.find("/old") < text.find("/a\\u"), "the oldest request is first:\n{text}");
    }

    #[test]
    fn one_of_each_is_in_the_singular() {
        let document = serde_json::json!({
            "version": "0.1.0", "pid": 41, "uptime": 1.0, "stage": "serving", "ready": true,
            "threads": 1, "threads_busy": 1, "requests_queued": 0,
            "restarts": {}, "reloads": {"succeeded": 1},
            "totals": {"answered": 1, "requests": {}},
            "workers": [{
                "pid": 42, "state": "ready", "time_in_state": 1.0, "threads": 1, "threads_busy": 1,
                "connections": {}, "memory_bytes": null,
                "requests": [{"thread": 0, "method": "GET", "target": "/", "age": 0.5,
                              "phase": "running"}],
            }],
        });
        let mut view = View::default();
        view.receive(Instant::now(), Ok(serde_json::from_value(document).unwrap()));
        let text = drawn(&view, 100, 24);
        for expected in [
            "1 request ",
            "1 of 1 thread busy  0 queued  0 restarts  1 reload ",
            "1 request runs or waits",
        ] {
            assert!(text.contains(expected), "{expected:?} is missing:\n{text}");
        }
    }

    #[test]
    fn failure_takes_the_last_line() {
        let mut view = view();
        view.receive(Instant::now(), Err(Failure::Refused("gone".into())));
        let text = drawn(&view, 100, 24);
        assert!(text.contains("no answer for ") && text.contains(" ms: gone"), "{text}");
    }

    #[test]
    fn any_size_of_the_terminal_is_drawn() {
        for (width, height) in [(1, 1), (10, 3), (40, 8), (300, 100)] {
            drawn(&view(), width, height);
        }
        drawn(&View::default(), 80, 24);
    }
}
