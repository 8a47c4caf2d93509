//! In place of `stack_signal` on systems without real-time signals for threads.

use std::io;
use std::time::Duration;

/// There is none.
#[derive(Debug)]
pub(crate) struct StackSignal(());

/// What a thread has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "no thread does anything here")]
pub(crate) enum Dumped {
    Written,
    Refused,
    Silent,
}

pub(crate) fn unused_signal() -> Option<i32> {
    None
}

impl StackSignal {
    pub(crate) fn wrap(_: i32, _: fn() -> bool) -> io::Result<StackSignal> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn number(&self) -> i32 {
        0
    }

    pub(crate) fn request(&self, _: i32, _: Duration) -> io::Result<Dumped> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn write_here(&self) {}

    pub(crate) fn native_frames(&self) -> Vec<String> {
        Vec::new()
    }
}
