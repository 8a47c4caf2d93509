//! `wsgi.input`: the content of the request as a file-like object.
//! [PEP 3333, "Input and Error Streams"]
//!
//! The content is complete before the application runs, so no read waits for the client, and its
//! end is known: every read past it returns `b""`.

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

/// How many bytes of spooled content are read ahead for `readline`.
const WINDOW_BYTES: usize = 64 * 1024;
/// Reads of a file that are larger than this many bytes are made detached from the interpreter.
const DETACH_THRESHOLD: usize = 64 * 1024;

/// The stream in `environ["wsgi.input"]`.
#[derive(Debug)]
#[pyclass(frozen, module = "rustwsgi._rustwsgi")]
pub struct Input {
    /// Locked briefly, and never while Python code may run.
    reader: Mutex<Reader>,
}

#[derive(Debug)]
struct Reader {
    content: Content,
    /// Bytes that were read so far.
    position: u64,
    /// A part of the file that was read ahead, for `readline`.
    window: Vec<u8>,
    /// The offset in the file at which the window starts.
    window_start: u64,
}

impl Input {
    /// A stream over `content`.
    pub fn new(content: Content) -> Input {
        let reader = Reader { content, position: 0, window: Vec::new(), window_start: 0 };
        Input { reader: Mutex::new(reader) }
    }

    fn reader(&self, py: Python<'_>) -> MutexGuard<'_, Reader> {
        ignore_poison(self.reader.lock_py_attached(py))
    }

    /// Fills `target` with the content from `offset` on.
    fn fill(&self, py: Python<'_>, offset: u64, target: &mut [u8]) -> io::Result<()> {
        let file = match &self.reader(py).content {
            Content::Empty => return Ok(()),
            Content::Memory(bytes) => {
                let start = offset as usize;
                target.copy_from_slice(&bytes[start..start + target.len()]);
                return Ok(());
            }
            Content::File(file, _) if target.len() <= DETACH_THRESHOLD => {
                return file.read_exact_at(target, offset);
            }
            Content::File(file, _) => file.try_clone()?,
        };
        py.detach(|| file.read_exact_at(target, offset))
    }

    /// Advances the position by up to `size` bytes (`None`: to the end). Returns the offset and the
    /// count of the bytes that the caller now owns: two threads never read the same byte.
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
        if let Some(line) = self.reader(py).buffered_line(limit) {
            return Ok(PyBytes::new(py, line));
        }
        // A line may be as long as the content: search for its end detached.
        let line = py.detach(|| ignore_poison(self.reader.lock()).line(limit))?;
        Ok(PyBytes::new(py, &line))
    }
}

impl Reader {
    /// How many bytes are unread.
    fn left(&self) -> u64 {
        let length = match &self.content {
            Content::Empty => 0,
            Content::Memory(bytes) => bytes.len() as u64,
            Content::File(_, length) => *length,
        };
        length - self.position
    }

    /// Reads the next line if all of it is in memory. `None` if it has to be searched in the file.
    fn buffered_line(&mut self, limit: Option<usize>) -> Option<&[u8]> {
        let (bytes, start) = match &self.content {
            Content::Empty => (&[][..], 0),
            Content::Memory(bytes) => (&bytes[..], self.position as usize),
            // If the position is before the window, the difference wraps and is out of range.
            Content::File(..) => {
                (&self.window[..], self.position.wrapping_sub(self.window_start) as usize)
            }
        };
        let ahead = bytes.get(start..)?;
        let limit = limit.unwrap_or(usize::MAX);
        let length = match memchr::memchr(b'\n', &ahead[..ahead.len().min(limit)]) {
            Some(lf) => lf + 1,
            None if ahead.len() >= limit => limit,
            None if matches!(self.content, Content::File(..)) => return None,
            None => ahead.len(),
        };
        self.position += length as u64;
        Some(&ahead[..length])
    }

    /// Reads up to and including the next LF, `limit` bytes at most.
    fn line(&mut self, limit: Option<usize>) -> io::Result<Vec<u8>> {
        let limit = limit.unwrap_or(usize::MAX);
        let mut line = Vec::new();
        while line.len() < limit {
            let ahead = self.peek()?;
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

    /// Bytes at the position, without advancing it. Empty only at the end of the content.
    fn peek(&mut self) -> io::Result<&[u8]> {
        let left = self.left();
        match &self.content {
            Content::Empty => Ok(&[]),
            Content::Memory(bytes) => Ok(&bytes[self.position as usize..]),
            Content::File(file, _) => {
                let end = self.window_start + self.window.len() as u64;
                if !(self.window_start..end).contains(&self.position) {
                    let size = left.min(WINDOW_BYTES as u64) as usize;
                    read_window(file, &mut self.window, self.position, size)?;
                    self.window_start = self.position;
                }
                Ok(&self.window[(self.position - self.window_start) as usize..])
            }
        }
    }
}

fn read_window(file: &File, window: &mut Vec<u8>, offset: u64, size: usize) -> io::Result<()> {
    window.resize(size, 0);
    file.read_exact_at(window, offset)
}

/// `None` and negative sizes mean "no limit", as in Python's io module.
fn to_limit(size: Option<isize>) -> Option<usize> {
    size.and_then(|size| usize::try_from(size).ok())
}

#[pymethods]
impl Input {
    /// Reads up to `size` bytes, or all that are left.
    #[pyo3(signature = (size=None, /))]
    fn read<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        let (start, count) = self.claim(py, to_limit(size));
        PyBytes::new_with(py, count, |target| Ok(self.fill(py, start, target)?))
    }

    /// The same as `read`, which never returns less than it could.
    #[pyo3(signature = (size=None, /))]
    fn read1<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.read(py, size)
    }

    /// Reads into a writable buffer. Returns the number of bytes.
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
        self.next_line(py, to_limit(size))
    }

    /// Reads the lines that are left. With a positive `hint`, stops after the line with which their
    /// total size reaches `hint` bytes.
    #[pyo3(signature = (hint=None, /))]
    fn readlines<'py>(&self, py: Python<'py>, hint: Option<isize>) -> PyResult<Bound<'py, PyList>> {
        let hint = to_limit(hint).filter(|&hint| hint > 0).unwrap_or(usize::MAX);
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

    /// True. `io.BufferedReader` and `io.TextIOWrapper` require it of what they wrap.
    fn readable(&self) -> bool {
        true
    }

    /// False.
    fn writable(&self) -> bool {
        false
    }

    /// False: the stream cannot be read twice.
    fn seekable(&self) -> bool {
        false
    }

    /// Does nothing, as the stream belongs to the server. Wrappers call this when they are
    /// collected.
    fn close(&self) {}

    /// Does nothing.
    fn flush(&self) {}

    /// False.
    #[getter]
    fn closed(&self) -> bool {
        false
    }
}
