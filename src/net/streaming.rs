//! Content that the application reads as it arrives, with `--request-buffering off`: the connection
//! lends its reading half for the time that the request runs.

use std::sync::Arc;

use super::connection::Connection;
use super::read_half::ReadHalf;
use crate::config::Settings;

impl Connection {
    /// Hands the content that has not arrived yet to a [`ReadHalf`]. `None` if the request is
    /// complete.
    #[inline]
    pub(super) fn begin_reading(&mut self, settings: &Settings) -> Option<Arc<ReadHalf>> {
        if self.http.wants_content() { self.lend_content(settings) } else { None }
    }

    fn lend_content(&mut self, settings: &Settings) -> Option<Arc<ReadHalf>> {
        let decoder = self.http.lend_content()?;
        let input = std::mem::take(&mut self.input);
        let half = Arc::new(ReadHalf::new(
            self.write_half.clone(),
            self.poller.clone(),
            settings,
            (decoder, input),
            self.http.head().expect_continue(),
        ));
        self.charge();
        self.read_half = Some(half.clone());
        Some(half)
    }

    /// Takes back what [`Connection::begin_reading`] has handed out; the application can read no
    /// more. Content that was not read is dropped. If it has not arrived completely, the connection
    /// closes after the response. [RFC 9112 section 9.3]
    #[inline]
    pub(super) fn end_reading(&mut self) {
        if let Some(half) = self.read_half.take() {
            self.take_content_back(&half);
        }
    }

    fn take_content_back(&mut self, half: &ReadHalf) {
        if let Some((decoder, input)) = half.end() {
            self.http.return_content(decoder);
            self.input = input;
            self.charge();
            if let Some(stream) = self.write_half.transport().stream() {
                // An application may keep the read half.
                stream.drop_content();
            }
        }
    }

    /// The reading half, if the application reads the content as it arrives.
    pub fn read_half(&self) -> Option<&Arc<ReadHalf>> {
        self.read_half.as_ref()
    }
}
