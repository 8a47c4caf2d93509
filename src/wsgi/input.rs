//! `wsgi.input`: the request's content as a file-like object. [PEP 3333, "Input and Error Streams"]
//!
//! The content is whole before the application runs, so no read ever waits for the client, and its
//! end is known: past it every read answers `b""`, for ever.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard};

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyAny, PyBytes, PyList, PyMemoryView, PySlice};

use super::exchange::Content;
use crate::sync::ignore_poison;

/// Bytes of a spooled content that `readline` looks at in one go.
const WINDOW: usize = 64 * 1024;
/// Reads of a file larger than this let other Python threads run meanwhile.
const DETACH: usize = 64 * 1024;

/// The stream in `environ["wsgi.input"]`.
#[derive(Debug)]
#[pyclass(frozen, module = "rustwsgi._rustwsgi")]
pub struct Input {
    /// Enqueued for moments only, and never while Python code may run.
    reader: Mutex<Reader>,
}

#[derive(Debug)]
struct Reader {
    content: Content,
    /// Bytes handed out so far.
    position: u64,
    /// A stretch of the file, for line by line reading.
    window: Vec<u8>,
    /// Where in the file the window starts.
    window_at: u64,
}

impl Input {
    /// A stream over `content`.
    pub fn new(content: Content) -> Input {
        let reader = Reader { content, position: 0, window: Vec::new(), window_at: 0 };
        Input { reader: Mutex::new(reader) }
    }

    fn reader(&self, py: Python<'_>) -> MutexGuard<'_, Reader> {
        ignore_poison(self.reader.lock_py_attached(py))
    }

    /// Reads exactly into `target` from `offset` of the content.
    fn fill(&self, py: Python<'_>, offset: u64, target: &mut [u8]) -> io::Result<()> {
        let file = match &self.reader(py).content {
            Content::Empty => return Ok(()),
            Content::Memory(bytes) => {
                let start = offset as usize;
                target.copy_from_slice(&bytes[start..start + target.len()]);
                return Ok(());
            }
            Content::File(file, _) if target.len() <= DETACH => {
                return file.read_exact_at(target, offset);
            }
            Content::File(file, _) => file.try_clone()?,
        };
        py.detach(|| file.read_exact_at(target, offset))
    }

    /// Claims up to `size` bytes (`None` for all): where they start and how many they are. From then on
    /// they belong to the caller, so two threads never get the same byte.
    fn claim(&self, py: Python<'_>, size: Option<usize>) -> (u64, usize) {
        let mut reader = self.reader(py);
        let left = reader.left();
        let count = size.map_or(left, |size| left.min(size as u64));
        let start = reader.position;
        reader.position += count;
        (start, count as usize)
    }

    fn next_line<'py>(
        &self,
        py: Python<'py>,
        limit: Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        if let Some(line) = self.reader(py).line_at_hand(limit) {
            return Ok(PyBytes::new(py, line));
        }
        // A line may be as long as the content: others run while it is looked for.
        let line = py.detach(|| ignore_poison(self.reader.lock()).line(limit))?;
        Ok(PyBytes::new(py, &line))
    }
}

impl Reader {
    fn left(&self) -> u64 {
        let length = match &self.content {
            Content::Empty => 0,
            Content::Memory(bytes) => bytes.len() as u64,
            Content::File(_, length) => *length,
        };
        length - self.position
    }

    /// The next line, if all of it is in memory; `None` says nothing about whether there is one.
    fn line_at_hand(&mut self, limit: Option<usize>) -> Option<&[u8]> {
        let (bytes, start) = match &self.content {
            Content::Empty => (&[][..], 0),
            Content::Memory(bytes) => (&bytes[..], self.position as usize),
            // Before the window, which is where a read() leads, the difference wraps and is out of range.
            Content::File(..) => {
                (&self.window[..], self.position.wrapping_sub(self.window_at) as usize)
            }
        };
        let ahead = bytes.get(start..)?;
        let most = limit.unwrap_or(usize::MAX);
        let length = match memchr::memchr(b'\n', &ahead[..ahead.len().min(most)]) {
            Some(lf) => lf + 1,
            None if ahead.len() >= most => most,
            None if matches!(self.content, Content::File(..)) => return None,
            None => ahead.len(),
        };
        self.position += length as u64;
        Some(&ahead[..length])
    }

    /// Up to and including the next LF, `limit` bytes at most.
    fn line(&mut self, limit: Option<usize>) -> io::Result<Vec<u8>> {
        let limit = limit.unwrap_or(usize::MAX);
        let mut line = Vec::new();
        while line.len() < limit {
            let ahead = self.ahead()?;
            if ahead.is_empty() {
                break;
            }
            let ahead = &ahead[..ahead.len().min(limit - line.len())];
            let (take, ended) = match memchr::memchr(b'\n', ahead) {
                Some(lf) => (lf + 1, true),
                None => (ahead.len(), false),
            };
            line.extend_from_slice(&ahead[..take]);
            self.position += take as u64;
            if ended {
                break;
            }
        }
        Ok(line)
    }

    /// Bytes at the position: some, unless the content has ended.
    fn ahead(&mut self) -> io::Result<&[u8]> {
        let left = self.left();
        match &self.content {
            Content::Empty => Ok(&[]),
            Content::Memory(bytes) => Ok(&bytes[self.position as usize..]),
            Content::File(file, _) => {
                let end = self.window_at + self.window.len() as u64;
                if !(self.window_at..end).contains(&self.position) {
                    let size = left.min(WINDOW as u64) as usize;
                    read_window(file, &mut self.window, self.position, size)?;
                    self.window_at = self.position;
                }
                Ok(&self.window[(self.position - self.window_at) as usize..])
            }
        }
    }
}

fn read_window(file: &File, window: &mut Vec<u8>, offset: u64, size: usize) -> io::Result<()> {
    window.resize(size, 0);
    file.read_exact_at(window, offset)
}

/// `None` and negative numbers mean "no limit", as in Python's io module.
fn limit(size: Option<isize>) -> Option<usize> {
    size.and_then(|size| usize::try_from(size).ok())
}

#[pymethods]
impl Input {
    /// Reads `size` bytes, or all that is left.
    #[pyo3(signature = (size=None, /))]
    fn read<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        let (start, count) = self.claim(py, limit(size));
        PyBytes::new_with(py, count, |target| Ok(self.fill(py, start, target)?))
    }

    /// The same as `read`: every read is complete.
    #[pyo3(signature = (size=None, /))]
    fn read1<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.read(py, size)
    }

    /// Reads into a writable buffer of bytes; returns how many.
    fn readinto(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let view = PyMemoryView::from(buffer)?.call_method1(intern!(py, "cast"), ("B",))?;
        if view.getattr(intern!(py, "readonly"))?.is_truthy()? {
            return Err(PyTypeError::new_err("readinto() needs a writable buffer"));
        }
        let block = self.read(py, Some(isize::try_from(view.len()?)?))?;
        let count = block.as_bytes().len();
        view.set_item(PySlice::new(py, 0, isize::try_from(count)?, 1), block)?;
        Ok(count)
    }

    /// Reads up to and including the next line feed, `size` bytes at most.
    #[pyo3(signature = (size=None, /))]
    fn readline<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.next_line(py, limit(size))
    }

    /// The lines that are left; with a positive `hint`, only so many that their total size reaches it.
    #[pyo3(signature = (hint=None, /))]
    fn readlines<'py>(&self, py: Python<'py>, hint: Option<isize>) -> PyResult<Bound<'py, PyList>> {
        let hint = limit(hint).filter(|&hint| hint > 0).unwrap_or(usize::MAX);
        let lines = PyList::empty(py);
        let mut total = 0;
        while total < hint {
            let line = self.next_line(py, None)?;
            let size = line.as_bytes().len();
            if size == 0 {
                break;
            }
            total += size;
            lines.append(line)?;
        }
        Ok(lines)
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let line = self.next_line(py, None)?;
        Ok(if line.as_bytes().is_empty() { None } else { Some(line) })
    }

    /// True: `io.BufferedReader` and `io.TextIOWrapper` ask before they wrap.
    fn readable(&self) -> bool {
        true
    }

    /// False.
    fn writable(&self) -> bool {
        false
    }

    /// False: what was read is gone.
    fn seekable(&self) -> bool {
        false
    }

    /// Does nothing: the stream belongs to the server. Wrappers call it when they are collected.
    fn close(&self) {}

    /// Does nothing.
    fn flush(&self) {}

    /// False.
    #[getter]
    fn closed(&self) -> bool {
        false
    }
}
