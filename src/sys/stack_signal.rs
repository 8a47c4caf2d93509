//! A signal that lets a thread write the stacks of Python, also while it keeps the interpreter in
//! native code.
//!
//! `faulthandler` has a handler that writes the Python stacks of a process without the interpreter.
//! It is registered for a real-time signal that is not in use. A handler of our own stands before
//! it, which runs only when this server has sent the signal, notes the native frames, and says when
//! all is written. It writes nothing if its thread may not: while a thread that has the interpreter
//! is in the handler, no other one changes its frames.

use std::ffi::CStr;
use std::io;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;

/// Native frames that are noted.
const MAX_FRAMES: usize = 48;
/// The frames of the signal's delivery, which are those of this module and of the C library.
const FRAMES_OF_DELIVERY: usize = 2;
/// How often the sender looks whether the handler is done.
const CHECK_INTERVAL: Duration = Duration::from_micros(50);

// The states of `STATE`, apart from those of `sent_to`.
const IDLE: u64 = 0;
const RUNNING: u64 = 2;
const DONE: u64 = 3;
const REFUSED: u64 = 4;

/// What the handler does.
static STATE: AtomicU64 = AtomicU64::new(IDLE);
/// The handler of `faulthandler`.
// INVARIANT: null, or a function that takes the number of a signal, and may run anywhere, signal
// handlers included.
static WRITER: AtomicPtr<libc::c_void> = AtomicPtr::new(std::ptr::null_mut());
/// Whether the calling thread may write.
static MAY_WRITE: OnceLock<fn() -> bool> = OnceLock::new();
/// Held while a thread is asked.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// The native frames of the thread that has run the handler last.
static FRAMES: [AtomicPtr<libc::c_void>; MAX_FRAMES] =
    [const { AtomicPtr::new(std::ptr::null_mut()) }; MAX_FRAMES];
static FRAME_COUNT: AtomicUsize = AtomicUsize::new(0);

/// What a thread has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dumped {
    /// It has written the stacks.
    Written,
    /// It may not.
    Refused,
    /// It has not run the handler in time.
    Silent,
}

/// The signal, once both handlers are in place. There is one in a process.
#[derive(Debug)]
pub(crate) struct StackSignal(i32);

/// A real-time signal with its default action: neither Python nor the application uses it.
pub(crate) fn unused_signal() -> Option<i32> {
    // The last ones are the first that others take.
    let candidates = (libc::SIGRTMIN() + 1..=libc::SIGRTMAX() - 3).rev();
    candidates.into_iter().find(|&number| {
        action_of(number).is_some_and(|action| action.sa_sigaction == libc::SIG_DFL)
    })
}

impl StackSignal {
    /// Puts our handler before the one that `faulthandler` has registered for this signal.
    /// `may_write` says whether the calling thread may write; it is called in a signal handler.
    ///
    /// # Errors
    /// If there is no handler, or the system refuses.
    pub(crate) fn wrap(number: i32, may_write: fn() -> bool) -> io::Result<StackSignal> {
        let mut action = action_of(number).ok_or_else(io::Error::last_os_error)?;
        let with_details = action.sa_flags & libc::SA_SIGINFO != 0;
        if matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) || with_details {
            return Err(io::Error::other("faulthandler has not registered its handler"));
        }
        MAY_WRITE.get_or_init(|| may_write);
        WRITER.store(action.sa_sigaction as *mut libc::c_void, Ordering::Release);
        // The first call loads a library, which a signal handler must not.
        note_native_frames();
        action.sa_sigaction = on_signal as *const () as libc::sighandler_t;
        // SAFETY: a valid struct, whose handler does only what a signal handler may.
        match unsafe { libc::sigaction(number, &raw const action, std::ptr::null_mut()) } {
            0 => Ok(StackSignal(number)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Its number.
    pub(crate) fn number(&self) -> i32 {
        self.0
    }

    /// Lets a thread of this process write stacks to the file of `faulthandler`.
    ///
    /// # Errors
    /// If the application has replaced the handler, or there is no such thread.
    pub(crate) fn request(&self, thread: i32, limit: Duration) -> io::Result<Dumped> {
        // A signal without our handler would end the process.
        let is_ours = action_of(self.0)
            .is_some_and(|action| action.sa_sigaction == on_signal as *const () as usize);
        if !is_ours {
            return Err(io::Error::other("the application has replaced the signal's handler"));
        }
        let _one_at_a_time = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        if STATE.load(Ordering::Acquire) == RUNNING {
            return Err(io::Error::other("an earlier dump has not ended"));
        }
        let sent = sent_to(thread);
        STATE.store(sent, Ordering::Release);
        let process = i32::try_from(std::process::id()).map_err(io::Error::other)?;
        // SAFETY: takes numbers only. The kernel refuses a thread that is not of this process.
        let failed = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, self.0) } != 0;
        if failed {
            STATE.store(IDLE, Ordering::Release);
            return Err(io::Error::last_os_error());
        }
        let end = Instant::now() + limit;
        loop {
            match STATE.load(Ordering::Acquire) {
                DONE => return Ok(Dumped::Written),
                REFUSED => return Ok(Dumped::Refused),
                // A dump in progress takes milliseconds.
                RUNNING if Instant::now() > end + limit => return Ok(Dumped::Silent),
                // A signal that comes after this has no effect.
                state if state == sent && Instant::now() > end && change(sent, IDLE) => {
                    return Ok(Dumped::Silent);
                }
                _ => std::thread::sleep(CHECK_INTERVAL),
            }
        }
    }

    /// Writes the stacks of all threads on the calling thread. The thread that has the interpreter
    /// must be waiting in the kernel: otherwise its frames may change meanwhile.
    pub(crate) fn write_here(&self) {
        FRAME_COUNT.store(0, Ordering::Release);
        write(self.0);
    }

    /// The native frames of the thread that has written its stacks last, the innermost first:
    /// `libm.so.6(exp+0x12) [0x7f…]`.
    pub(crate) fn native_frames(&self) -> Vec<String> {
        let count = FRAME_COUNT.load(Ordering::Acquire).min(MAX_FRAMES);
        let frames: Vec<_> =
            FRAMES[..count].iter().map(|frame| frame.load(Ordering::Relaxed)).collect();
        symbols(frames.get(FRAMES_OF_DELIVERY..).unwrap_or_default())
    }
}

/// The signal is on its way to this thread. Another one, whose signal of an earlier request comes
/// late, does not answer in its place.
fn sent_to(thread: i32) -> u64 {
    u64::from(thread.cast_unsigned()) << 8 | 1
}

fn change(from: u64, to: u64) -> bool {
    STATE.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

extern "C" fn on_signal(number: libc::c_int) {
    let errno = Errno::last_raw();
    let own = rustix::thread::gettid().as_raw_nonzero().get();
    if !change(sent_to(own), RUNNING) {
        return;
    }
    let may_write = MAY_WRITE.get().is_some_and(|may_write| may_write());
    if may_write {
        note_native_frames();
        write(number);
    }
    Errno::set_raw(errno);
    STATE.store(if may_write { DONE } else { REFUSED }, Ordering::Release);
}

/// Calls the handler of `faulthandler`.
fn write(number: libc::c_int) {
    let writer = WRITER.load(Ordering::Acquire);
    if !writer.is_null() {
        // SAFETY: by the invariant it is such a function, which may run anywhere.
        let write: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(writer) };
        write(number);
    }
}

fn action_of(number: i32) -> Option<libc::sigaction> {
    let mut action = std::mem::MaybeUninit::uninit();
    // SAFETY: sigaction initializes the struct if it returns 0, and changes nothing.
    unsafe {
        let failed = libc::sigaction(number, std::ptr::null(), action.as_mut_ptr());
        (failed == 0).then(|| action.assume_init())
    }
}

#[cfg(target_env = "gnu")]
fn note_native_frames() {
    let mut frames = [std::ptr::null_mut(); MAX_FRAMES];
    // SAFETY: writes at most as many pointers as there is room for. It allocates nothing after its
    // first call, which `wrap` makes.
    let count = unsafe { libc::backtrace(frames.as_mut_ptr(), MAX_FRAMES as libc::c_int) };
    for (place, frame) in FRAMES.iter().zip(frames) {
        place.store(frame, Ordering::Relaxed);
    }
    FRAME_COUNT.store(usize::try_from(count).unwrap_or(0), Ordering::Release);
}

#[cfg(not(target_env = "gnu"))]
fn note_native_frames() {}

#[cfg(target_env = "gnu")]
fn symbols(frames: &[*mut libc::c_void]) -> Vec<String> {
    let count = frames.len() as libc::c_int;
    // SAFETY: reads `count` addresses, which it looks up and does not follow. The result is null or
    // an array of as many strings in one allocation, which is freed after they are copied.
    unsafe {
        let names = libc::backtrace_symbols(frames.as_ptr(), count);
        if names.is_null() {
            return Vec::new();
        }
        let copied = std::slice::from_raw_parts(names, frames.len())
            .iter()
            .map(|&name| CStr::from_ptr(name).to_string_lossy().into_owned())
            .collect();
        libc::free(names.cast());
        copied
    }
}

#[cfg(not(target_env = "gnu"))]
fn symbols(_: &[*mut libc::c_void]) -> Vec<String> {
    Vec::new()
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use std::mem::MaybeUninit;
    use std::sync::mpsc;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    extern "C" fn write_nothing(_: libc::c_int) {}

    fn register(number: i32) {
        // SAFETY: a valid struct, whose handler does nothing.
        let failed = unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = write_nothing as *const () as libc::sighandler_t;
            libc::sigaction(number, &raw const action, std::ptr::null_mut())
        };
        assert_eq!(failed, 0);
    }

    /// Blocks the signal in this thread, or lets it come.
    fn mask(number: i32, how: libc::c_int) {
        // SAFETY: `sigemptyset` initializes the set.
        let failed = unsafe {
            let mut set = MaybeUninit::uninit();
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), number);
            libc::pthread_sigmask(how, set.as_ptr(), std::ptr::null_mut())
        };
        assert_eq!(failed, 0);
    }

    /// Regression: a thread that had not answered in time answered in place of the next one
    /// that was asked, and its stack was shown as that of the other one.
    #[test]
    fn late_signal_does_not_answer_for_another_thread() {
        let number = unused_signal().unwrap();
        register(number);
        let signal = &StackSignal::wrap(number, || true).unwrap();
        std::thread::scope(|scope| {
            let (sender, ids) = mpsc::channel();
            let start = || {
                let (let_go, end) = mpsc::channel();
                let sender = sender.clone();
                scope.spawn(move || {
                    mask(number, libc::SIG_BLOCK);
                    sender.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
                    end.recv().unwrap();
                    mask(number, libc::SIG_UNBLOCK);
                    sender.send(0).unwrap();
                    end.recv()
                });
                (ids.recv().unwrap(), let_go)
            };
            let (first, let_first_go) = start();
            let (second, let_second_go) = start();
            assert_eq!(signal.request(first, SHORT).unwrap(), Dumped::Silent);
            let asked = scope.spawn(move || signal.request(second, LONG).unwrap());
            while STATE.load(Ordering::Acquire) & 0xff != sent_to(0) {
                assert!(!asked.is_finished());
                std::thread::yield_now();
            }
            let_first_go.send(()).unwrap();
            assert_eq!(ids.recv().unwrap(), 0, "its handler has run");
            assert_eq!(STATE.load(Ordering::Acquire), sent_to(second));
            let_second_go.send(()).unwrap();
            assert_eq!(asked.join().unwrap(), Dumped::Written);
            assert_eq!(signal.request(first, LONG).unwrap(), Dumped::Written);
        });
    }
}
