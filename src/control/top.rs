//! `rustwsgi top`: a live table of the workers of a server and the requests that they are at.
//!
//! - [`feed`] reads the state of the server at intervals, on a thread of its own,
//! - [`history`] has the last states, and computes rates and latencies from them,
//! - [`view`] is what the user has chosen, [`screen`] draws it.

mod feed;
mod history;
mod screen;
mod view;

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use super::client::{Address, Failure, Server};
use feed::Feed;
use view::View;

/// How long to wait for a key before looking for a new state.
const KEY_WAIT: Duration = Duration::from_millis(50);

/// What to show.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TopArguments {
    pub(super) address: Address,
    /// The time from one state to the next.
    pub(super) interval: Duration,
}

/// Shows the server until the user quits.
///
/// # Errors
/// If there is no terminal, or the server does not answer at the start. If it stops answering
/// later, the screen says so and waits for it.
pub(super) fn run(arguments: &TopArguments) -> Result<(), Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::Refused(
            "top needs a terminal; `rustwsgi ctl status` and `rustwsgi ctl requests` print to a \
             file or a pipe"
                .to_owned(),
        ));
    }
    let server = Server::at(arguments.address.clone());
    let mut view = View::default();
    view.receive(Instant::now(), Ok(server.status(feed::LIMIT)?));
    let feed = Feed::start(server, arguments.interval);
    let failed = |error: io::Error| Failure::Refused(format!("the terminal fails: {error}"));
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let ended = show(&mut terminal, &mut view, &feed);
    ratatui::restore();
    ended.map_err(failed)
}

fn show(terminal: &mut DefaultTerminal, view: &mut View, feed: &Feed) -> io::Result<()> {
    let mut is_changed = true;
    loop {
        while let Some((at, state)) = feed.next() {
            view.receive(at, state);
            is_changed = true;
        }
        if is_changed {
            terminal.draw(|frame| screen::draw(frame, view, Instant::now()))?;
            is_changed = false;
        }
        if !event::poll(KEY_WAIT)? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if key.kind == KeyEventKind::Press => {
                if view.press(key) {
                    return Ok(());
                }
                is_changed = true;
            }
            Event::Resize(..) => is_changed = true,
            _ => {}
        }
    }
}
