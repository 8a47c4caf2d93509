//! What the screen shows: the history of the server, and what the user has chosen.

use std::time::Instant;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::client::Failure;
use super::super::status::Status;
use super::history::History;

/// Requests by which a page key scrolls.
const PAGE: usize = 10;

/// What the screen shows.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) history: History,
    /// Why the server has not answered the last time.
    pub(super) failure: Option<String>,
    /// New states are not shown.
    pub(super) is_paused: bool,
    /// The first request that is shown.
    pub(super) scrolled: usize,
}

impl View {
    /// Takes a new state of the server.
    pub(super) fn receive(&mut self, at: Instant, state: Result<Status, Failure>) {
        match state {
            Ok(_) if self.is_paused => {}
            Ok(status) => {
                self.failure = None;
                self.history.add(at, status);
            }
            Err(failure) => self.failure = Some(failure.to_string()),
        }
        self.scroll(0);
    }

    /// Handles a key; returns whether it ends the command.
    pub(super) fn press(&mut self, key: KeyEvent) -> bool {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('c' | 'd') if is_control => return true,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Down | KeyCode::Char('j') => self.scroll(1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll(-1),
            KeyCode::PageDown => self.scroll(PAGE as isize),
            KeyCode::PageUp => self.scroll(-(PAGE as isize)),
            KeyCode::Home => self.scrolled = 0,
            KeyCode::End => self.scroll(isize::MAX),
            _ => {}
        }
        false
    }

    fn scroll(&mut self, by: isize) {
        let requests = self.history.latest().map_or(0, |status| {
            status.workers.iter().map(|worker| worker.requests.len()).sum::<usize>()
        });
        self.scrolled = self.scrolled.saturating_add_signed(by).min(requests.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::protocol::RequestInfo;
    use super::super::super::status::WorkerStatus;
    use super::*;

    fn with_requests(count: usize) -> Status {
        let request = RequestInfo {
            thread: Some(0),
            method: "GET".into(),
            target: "/".into(),
            age: 1.0,
            phase: "running".into(),
        };
        let worker = WorkerStatus { requests: vec![request; count], ..WorkerStatus::default() };
        Status { workers: vec![worker], ..Status::default() }
    }

    #[test]
    fn keys_scroll_within_the_requests() {
        let mut view = View::default();
        view.receive(Instant::now(), Ok(with_requests(15)));
        for (code, scrolled) in [
            (KeyCode::Up, 0),
            (KeyCode::Down, 1),
            (KeyCode::Char('j'), 2),
            (KeyCode::PageDown, 12),
            (KeyCode::PageDown, 14),
            (KeyCode::PageUp, 4),
            (KeyCode::End, 14),
            (KeyCode::Home, 0),
            (KeyCode::End, 14),
        ] {
            assert!(!view.press(KeyEvent::from(code)), "{code:?}");
            assert_eq!(view.scrolled, scrolled, "{code:?}");
        }
        view.receive(Instant::now(), Ok(with_requests(3)));
        assert_eq!(view.scrolled, 2, "there are fewer requests now");
    }

    #[test]
    fn keys_quit_and_pause() {
        let mut view = View::default();
        view.press(KeyEvent::from(KeyCode::Char('p')));
        view.receive(Instant::now(), Ok(with_requests(1)));
        assert!(view.history.latest().is_none(), "it is paused");
        view.press(KeyEvent::from(KeyCode::Char(' ')));
        view.receive(Instant::now(), Ok(with_requests(1)));
        assert!(view.history.latest().is_some());
        assert!(!view.press(KeyEvent::from(KeyCode::Char('c'))));
        for key in [KeyEvent::from(KeyCode::Esc), KeyEvent::from(KeyCode::Char('q'))] {
            assert!(view.press(key));
        }
        assert!(view.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
    }

    #[test]
    fn failure_is_shown_until_the_server_answers() {
        let mut view = View::default();
        view.receive(Instant::now(), Err(Failure::Refused("no".into())));
        assert_eq!(view.failure.as_deref(), Some("no"));
        view.receive(Instant::now(), Ok(Status::default()));
        assert_eq!(view.failure, None);
    }
}
