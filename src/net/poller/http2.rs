//! Drives the sessions of HTTP/2: reads for all streams of a connection, gives each request a slot
//! of its own, and sends what the streams have. What follows for a stream is an action like any
//! other, which [`mod@super::run`] carries out.
//!
//! [`mod@begin`] makes a session of a connection, [`mod@drive`] gives it a turn, in which [`open`]
//! and [`content`] take care of its streams; [`end`] and [`expire`] decide when it ends.

mod begin;
mod content;
mod drive;
mod end;
mod expire;
mod open;

pub(super) use begin::{asks_for_http2, begin, is_preface, upgrade};
pub(super) use drive::{drive, is_woken};
pub(super) use end::leave;
pub(super) use expire::{announce_close, on_deadline};
