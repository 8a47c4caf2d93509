//! The signal mask of a thread, and the action of SIGABRT.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal};

use super::process;

/// Blocks signals for the calling thread until it is dropped; pending signals are delivered then.
/// Belongs to the thread that created it.
#[derive(Debug)]
pub(crate) struct Blocked {
    previous: SigSet,
    _not_send: PhantomData<*const ()>,
}

impl Blocked {
    /// Blocks `signals` in addition to signals that are blocked already. `None` if the system
    /// refuses.
    pub(crate) fn these(signals: &[i32]) -> Option<Blocked> {
        let signals = signals.iter().filter_map(|&number| Signal::try_from(number).ok());
        Blocked::set(&signals.collect())
    }

    /// Blocks all signals.
    pub(crate) fn all() -> Option<Blocked> {
        Blocked::set(&SigSet::all())
    }

    fn set(signals: &SigSet) -> Option<Blocked> {
        let previous = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok()?;
        Some(Blocked { previous, _not_send: PhantomData })
    }

    /// Whether `signal` was blocked before.
    pub(super) fn was_blocked(&self, signal: Signal) -> bool {
        self.previous.contains(signal)
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // Fails only for an invalid argument.
        let _ = self.previous.thread_set_mask();
    }
}

/// Runs `start` with all signals blocked. A thread that it starts inherits the mask and gets no
/// signals.
///
/// Only threads created by Python handle signals. In the embedded binary, Rust gives its threads a
/// small alternate stack for signal handlers, which two of Python's handlers at a time overflow.
pub(crate) fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    let _blocked = Blocked::all();
    start()
}

/// The signals that a thread has blocked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignalMask(SigSet);

impl SignalMask {
    /// That of the calling thread. No signal is blocked if the system refuses.
    pub(crate) fn of_this_thread() -> SignalMask {
        SignalMask(SigSet::thread_get_mask().unwrap_or_else(|_| SigSet::empty()))
    }

    /// Gives the calling thread this mask while `run` runs.
    pub(crate) fn during<T>(self, run: impl FnOnce() -> T) -> T {
        let previous = self.0.thread_swap_mask(SigmaskHow::SIG_SETMASK).ok();
        let _restore = previous.map(|previous| Blocked { previous, _not_send: PhantomData });
        run()
    }
}

/// Discards a blocked signal of the calling thread, if it is pending. Some systems drop a blocked
/// signal that is ignored.
pub(super) fn discard_pending(signal: Signal) {
    let mut pending = MaybeUninit::uninit();
    // SAFETY: sigpending initializes `pending`, which is read only if it has succeeded.
    let is_pending = unsafe {
        libc::sigpending(pending.as_mut_ptr()) == 0
            && libc::sigismember(pending.as_ptr(), signal as libc::c_int) == 1
    };
    if is_pending {
        // Does not block: no other thread can take this thread's pending signal.
        let _ = SigSet::from(signal).wait();
    }
}

/// Gives a signal its default action, without the knowledge of Python: its table keeps the handler.
/// Setting a handler with Python's `signal.signal` ends that.
pub(crate) fn set_default_action(number: i32) {
    if let Ok(signal) = Signal::try_from(number) {
        // SAFETY: the default action is no code that could break a rule. It fails only for an
        // invalid number.
        let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
    }
}

/// Ignores a signal, without the knowledge of Python, as [`set_default_action`] does.
#[cfg(feature = "python")]
pub(super) fn ignore(number: i32) {
    if let Ok(signal) = Signal::try_from(number) {
        // SAFETY: as above.
        let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) };
    }
}

/// Sends this process a signal with its default action.
pub(crate) fn raise_with_default_action(number: i32) {
    set_default_action(number);
    if let Ok(pid) = i32::try_from(std::process::id()) {
        process::kill(pid, number);
    }
}

/// The exit code after SIGABRT; the signal's default action if it is negative.
static ABORT_EXIT_CODE: AtomicI32 = AtomicI32::new(-1);

/// While this exists, SIGABRT ends the process with the code of [`set_abort_exit_code`], or with
/// the default action if none was set.
pub(crate) struct AbortHandler {
    previous: Option<libc::sigaction>,
}

impl AbortHandler {
    pub(crate) fn install() -> AbortHandler {
        // SAFETY: an all-zero `sigaction` is a valid value of that plain C struct.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_abort as *const () as libc::sighandler_t;
        AbortHandler { previous: set_abort_action(&action) }
    }
}

impl Drop for AbortHandler {
    fn drop(&mut self) {
        self.previous.as_ref().and_then(set_abort_action);
    }
}

/// Sets the exit code after SIGABRT, while there is an [`AbortHandler`].
pub(crate) fn set_abort_exit_code(code: i32) {
    ABORT_EXIT_CODE.store(code, Relaxed);
}

/// Sets the action of SIGABRT and returns the previous one.
fn set_abort_action(action: &libc::sigaction) -> Option<libc::sigaction> {
    let mut previous = MaybeUninit::uninit();
    // SAFETY: sigaction reads the one struct and initializes the other if it returns 0. A handler
    // of ours does only what a signal handler may.
    unsafe {
        let failed = libc::sigaction(libc::SIGABRT, action, previous.as_mut_ptr());
        (failed == 0).then(|| previous.assume_init())
    }
}

extern "C" fn on_abort(signal: libc::c_int) {
    let code = ABORT_EXIT_CODE.load(Relaxed);
    if code >= 0 {
        process::exit_immediately(code);
    }
    // SAFETY: both may be called in a signal handler. The raised signal comes when this one
    // returns.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocked_signals_are_those_of_before_once_the_guard_is_dropped() {
        let is_blocked = || SigSet::thread_get_mask().unwrap().contains(Signal::SIGUSR1);
        assert!(!is_blocked());
        let outer = Blocked::these(&[libc::SIGUSR1]).unwrap();
        {
            let inner = Blocked::all().unwrap();
            assert!(inner.was_blocked(Signal::SIGUSR1) && is_blocked());
        }
        assert!(is_blocked());
        drop(outer);
        assert!(!is_blocked());
    }

    #[test]
    fn mask_of_another_moment_holds_while_the_code_runs() {
        let is_blocked = || SigSet::thread_get_mask().unwrap().contains(Signal::SIGUSR1);
        let mask = SignalMask::of_this_thread();
        let _blocked = Blocked::all().unwrap();
        assert!(is_blocked() && !mask.during(is_blocked) && is_blocked());
    }
}
