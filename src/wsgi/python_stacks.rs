//! The stacks of all Python threads, read by a thread that is attached to the interpreter and runs
//! no Python code itself.
//!
//! With a GIL no other thread changes its frames meanwhile. Without one, all threads do: there the
//! stacks are not read this way.

use std::collections::HashMap;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyCode, PyDict, PyFrame, PyFrameMethods};

/// Frames of a stack that are read, the innermost ones.
const MAX_DEPTH: usize = 256;
/// Lines that a [`CodeTable`] holds.
const MAX_CODES: usize = 50_000;

/// A frame of Python code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonFrame {
    /// The function, with its class if Python knows it.
    pub function: String,
    /// The path of its source.
    pub file: String,
    /// The line that runs.
    pub line: u32,
}

/// A thread, as `threading` knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonThread {
    /// Python's number of the thread.
    pub ident: u64,
    /// The name.
    pub name: String,
    /// The kernel's number of the thread, if Python knows it.
    pub native_id: Option<i32>,
}

/// The threads that `threading` knows. Takes none of its locks, which a thread may hold that hangs.
pub fn python_threads(py: Python<'_>) -> Vec<PythonThread> {
    let active = py.import("threading").and_then(|module| module.getattr("_active"));
    let active = active.and_then(|active| active.cast_into::<PyDict>()?.copy());
    let known = |(ident, thread): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
        // Not the properties, which a subclass may override.
        let name = thread.getattr("_name").ok()?.extract().ok()?;
        let native_id = thread.getattr("_native_id").ok().and_then(|id| id.extract().ok());
        Some(PythonThread { ident: ident.extract().ok()?, name, native_id })
    };
    active.map(|active| active.iter().filter_map(known).collect()).unwrap_or_default()
}

/// The stack of each thread that runs Python code, by its ident, the innermost frame first.
///
/// # Errors
/// As `sys._current_frames` raises.
pub fn python_stacks(py: Python<'_>) -> PyResult<Vec<(u64, Vec<PythonFrame>)>> {
    let mut stacks = Vec::new();
    for_each_thread(py, |ident, frame| {
        let mut frames = Vec::new();
        let mut next = Some(frame);
        while let Some(frame) = next.filter(|_| frames.len() < MAX_DEPTH) {
            let line = u32::try_from(frame.line_number()).unwrap_or(0);
            // `co_qualname` is new in Python 3.11.
            let described = described(&frame.code(), &["co_qualname", "co_name"]);
            frames.push(PythonFrame { line, ..described });
            next = frame.outer();
        }
        stacks.push((ident, frames));
    })?;
    Ok(stacks)
}

/// The frames of stacks that are sampled. A line has the same number in all samples.
#[derive(Default)]
pub struct CodeTable {
    /// By the address of the code object, which is kept alive, so that no other one gets it, and by
    /// the line.
    numbers: HashMap<(usize, u32), (usize, Py<PyCode>)>,
    frames: Vec<PythonFrame>,
    /// Reused for each stack.
    stack: Vec<usize>,
}

impl CodeTable {
    /// Calls `visit` with the ident of each thread, the numbers of its frames, the innermost first,
    /// and all frames.
    ///
    /// # Errors
    /// As `sys._current_frames` raises.
    pub fn sample(
        &mut self,
        py: Python<'_>,
        mut visit: impl FnMut(u64, &[usize], &[PythonFrame]),
    ) -> PyResult<()> {
        for_each_thread(py, |ident, frame| {
            let mut stack = std::mem::take(&mut self.stack);
            stack.clear();
            let mut next = Some(frame);
            while let Some(frame) = next.filter(|_| stack.len() < MAX_DEPTH) {
                stack.extend(self.number(&frame));
                next = frame.outer();
            }
            visit(ident, &stack, &self.frames);
            self.stack = stack;
        })
    }

    /// The number of a frame; `None` if the table is full.
    fn number(&mut self, frame: &Bound<'_, PyFrame>) -> Option<usize> {
        let code = frame.code();
        let line = u32::try_from(frame.line_number()).unwrap_or(0);
        let key = (code.as_ptr() as usize, line);
        if let Some((number, _)) = self.numbers.get(&key) {
            return Some(*number);
        }
        let number = self.frames.len();
        if number >= MAX_CODES {
            return None;
        }
        // `faulthandler` knows no other name.
        self.frames.push(PythonFrame { line, ..described(&code, &["co_name"]) });
        self.numbers.insert(key, (number, code.unbind()));
        Some(number)
    }
}

/// The number of frames of the calling thread.
pub fn stack_depth(py: Python<'_>) -> usize {
    let frame = py.import("sys").and_then(|sys| sys.call_method0("_getframe"));
    // Without a frame it raises ValueError.
    let mut frame = frame.ok().and_then(|frame| frame.cast_into::<PyFrame>().ok());
    let mut depth = 0;
    while let Some(inner) = frame {
        depth += 1;
        frame = inner.outer();
    }
    depth
}

/// While it exists, threads of Python give the interpreter up after a shorter time.
pub struct SwitchInterval<'py> {
    py: Python<'py>,
    /// Seconds.
    previous: f64,
    shortened: f64,
}

impl<'py> SwitchInterval<'py> {
    /// `None` if it is as short already.
    pub fn shorten(py: Python<'py>, interval: Duration) -> Option<SwitchInterval<'py>> {
        let previous = switch_interval(py)?;
        let shortened = interval.as_secs_f64();
        if previous <= shortened {
            return None;
        }
        let set =
            py.import("sys").and_then(|sys| sys.call_method1("setswitchinterval", (shortened,)));
        set.ok().map(|_| SwitchInterval { py, previous, shortened })
    }
}

impl Drop for SwitchInterval<'_> {
    /// Not if the application has changed it meanwhile.
    fn drop(&mut self) {
        let is_ours = switch_interval(self.py)
            .is_some_and(|interval| (interval - self.shortened).abs() < self.shortened / 10.0);
        if is_ours {
            let sys = self.py.import("sys");
            let _ = sys.and_then(|sys| sys.call_method1("setswitchinterval", (self.previous,)));
        }
    }
}

/// In seconds.
fn switch_interval(py: Python<'_>) -> Option<f64> {
    py.import("sys").ok()?.call_method0("getswitchinterval").ok()?.extract().ok()
}

/// Python's number of the calling thread.
pub fn thread_ident(py: Python<'_>) -> u64 {
    super::ffi::current_thread(py)
}

fn for_each_thread<'py>(
    py: Python<'py>,
    mut visit: impl FnMut(u64, Bound<'py, PyFrame>),
) -> PyResult<()> {
    let frames = py.import("sys")?.call_method0("_current_frames")?.cast_into::<PyDict>()?;
    for (ident, frame) in frames.iter() {
        if let (Ok(ident), Ok(frame)) = (ident.extract(), frame.cast_into::<PyFrame>()) {
            visit(ident, frame);
        }
    }
    Ok(())
}

/// The function of a code object, by the first of these attributes that it has.
fn described(code: &Bound<'_, PyCode>, names: &[&str]) -> PythonFrame {
    // A name may contain surrogates.
    let text = |name: &str| code.getattr(name).ok()?.extract::<String>().ok();
    let unknown = || "?".to_owned();
    PythonFrame {
        function: names.iter().find_map(|name| text(name)).unwrap_or_else(unknown),
        file: text("co_filename").unwrap_or_else(unknown),
        line: 0,
    }
}
