//! `wsgi.input`: the content of the request as a file-like object.
//! [PEP 3333, "Input and Error Streams"]
//!
//! By default the content is complete before the application runs, so no read waits for the client.
//! With `--request-buffering off` it is a stream: reads wait, detached from the interpreter, and
//! fail if the content breaks off. Either way its end is known: every read past it returns `b""`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard};

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyAny, PyBytes, PyList, PyMemoryView, PySlice};

use super::exchange::{Content, ContentStream, Until};
use super::{ffi, fork};
use crate::sync::ignore_poison;

/// How many bytes of spooled content are read ahead for `readline`.
const WINDOW_BYTES: usize = 64 * 1024;
/// Reads of a file that are larger than this many bytes are made detached from the interpreter.
const DETACH_THRESHOLD: usize = 64 * 1024;

/// The stream in `environ["wsgi.input"]`.
#[derive(Debug)]
#[pyclass(frozen, module = "rustwsgi._rustwsgi")]
pub struct Input(Source);

#[derive(Debug)]
enum Source {
    /// Content that is complete. Locked briefly, and never while Python code may run.
    Received(Mutex<Reader>),
    /// Content that is read as it arrives.
    Stream(Arc<dyn ContentStream>),
}

#[derive(Debug)]
struct Reader {
    content: Stored,
    /// The offset of the next byte to read.
    position: u64,
    /// A part of the file that was read ahead, for `readline`.
    window: Vec<u8>,
    /// The offset in the file at which the window starts.
    window_start: u64,
}

/// Content that is complete.
#[derive(Debug)]
enum Stored {
    Empty,
    Memory(Vec<u8>),
    /// In a file, with its length in bytes.
    File(File, u64),
}

impl Input {
    /// A stream over `content`.
    pub fn new(content: Content) -> Input {
        let (content, position) = match content {
            Content::Stream(stream) => return Input(Source::Stream(stream)),
            Content::Empty => (Stored::Empty, 0),
            Content::Memory(bytes, start) => (Stored::Memory(bytes), start as u64),
            Content::File(file, length) => (Stored::File(file, length), 0),
        };
        let reader = Reader { content, position, window: Vec::new(), window_start: 0 };
        Input(Source::Received(Mutex::new(reader)))
    }

    fn next_line<'py>(
        &self,
        py: Python<'py>,
        limit: Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let reader = match &self.0 {
            Source::Received(reader) => reader,
            Source::Stream(stream) => return read_stream(py, &**stream, limit, Until::Line),
        };
        let mut buffered = lock(py, reader);
        let start = buffered.position;
        if let Some(line) = buffered.buffered_line(limit) {
            return ffi::bytes(py, line).inspect_err(|_| buffered.position = start);
        }
        drop(buffered);
        // A line may be as long as the content: search for its end detached.
        let line = py.detach(|| ignore_poison(reader.lock()).line(limit))?;
        ffi::bytes(py, &line)
    }
}

fn lock<'a>(py: Python<'_>, reader: &'a Mutex<Reader>) -> MutexGuard<'a, Reader> {
    ignore_poison(reader.lock_py_attached(py))
}

/// Reads content that is complete: up to `size` bytes, or all that are left. After a failure,
/// such as a lack of memory, the same bytes can be read again.
fn read_received<'py>(
    py: Python<'py>,
    reader: &Mutex<Reader>,
    size: Option<usize>,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut locked = lock(py, reader);
    let (offset, count) = locked.claim(size);
    let file = match &locked.content {
        Stored::Empty => return ffi::bytes(py, &[]),
        Stored::Memory(bytes) => {
            let start = offset as usize;
            let read = ffi::bytes(py, &bytes[start..start + count]);
            if read.is_err() {
                locked.unclaim(offset, count);
            } else if start + count == bytes.len() {
                // Read to its end: its memory serves other requests while this one runs.
                (locked.content, locked.position) = (Stored::Empty, 0);
            }
            return read;
        }
        Stored::File(file, _) if count <= DETACH_THRESHOLD => {
            let read =
                PyBytes::new_with(py, count, |target| Ok(file.read_exact_at(target, offset)?));
            return read.inspect_err(|_| locked.unclaim(offset, count));
        }
        Stored::File(file, _) => file.try_clone(),
    };
    drop(locked);
    let read = file.map_err(PyErr::from).and_then(|file| {
        PyBytes::new_with(py, count, |target| Ok(py.detach(|| file.read_exact_at(target, offset))?))
    });
    read.inspect_err(|_| lock(py, reader).unclaim(offset, count))
}

/// Reads content as it arrives. What has arrived already is read without detaching: a request that
/// reads line by line would spend its time on that.
fn read_stream<'py>(
    py: Python<'py>,
    stream: &dyn ContentStream,
    limit: Option<usize>,
    until: Until,
) -> PyResult<Bound<'py, PyBytes>> {
    if fork::is_child() {
        return Err(PyRuntimeError::new_err(
            "wsgi.input was read in a forked process: with --request-buffering off the connection \
             is its parent's",
        ));
    }
    let limit = limit.unwrap_or(usize::MAX);
    let read = match stream.read_buffered(limit, until) {
        Some(bytes) => bytes,
        None => {
            let read = py.detach(|| stream.read(limit, until));
            read.map_err(|error| error.to_exception(py))?
        }
    };
    ffi::bytes(py, &read)
}

impl Reader {
    /// How many bytes are unread.
    fn left(&self) -> u64 {
        let length = match &self.content {
            Stored::Empty => 0,
            Stored::Memory(bytes) => bytes.len() as u64,
            Stored::File(_, length) => *length,
        };
        length - self.position
    }

    /// Advances the position by up to `size` bytes (`None`: to the end). Returns the offset and the
    /// count of the bytes that the caller now owns: two threads never read the same byte.
    fn claim(&mut self, size: Option<usize>) -> (u64, usize) {
        let left = self.left();
        let count = size.map_or(left, |size| left.min(size as u64));
        let start = self.position;
        self.position += count;
        (start, count as usize)
    }

    /// Reverts [`Reader::claim`], unless another thread has read since.
    fn unclaim(&mut self, offset: u64, count: usize) {
        if self.position == offset + count as u64 {
            self.position = offset;
        }
    }

    /// Reads the next line if all of it is in memory. `None` if it has to be searched in the file.
    fn buffered_line(&mut self, limit: Option<usize>) -> Option<&[u8]> {
        let (bytes, start) = match &self.content {
            Stored::Empty => (&[][..], 0),
            Stored::Memory(bytes) => (&bytes[..], self.position as usize),
            // If the position is before the window, the difference wraps and is out of range.
            Stored::File(..) => {
                (&self.window[..], self.position.wrapping_sub(self.window_start) as usize)
            }
        };
        let ahead = bytes.get(start..)?;
        let limit = limit.unwrap_or(usize::MAX);
        let length = match memchr::memchr(b'\n', &ahead[..ahead.len().min(limit)]) {
            Some(lf) => lf + 1,
            None if ahead.len() >= limit => limit,
            None if matches!(self.content, Stored::File(..)) => return None,
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
            Stored::Empty => Ok(&[]),
            Stored::Memory(bytes) => Ok(&bytes[self.position as usize..]),
            Stored::File(file, _) => {
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
        match &self.0 {
            Source::Received(reader) => read_received(py, reader, to_limit(size)),
            Source::Stream(stream) => read_stream(py, &**stream, to_limit(size), Until::Full),
        }
    }

    /// Reads up to `size` bytes. The same as `read`, unless the content is read as it arrives: then
    /// returns what there is, and waits only if there is nothing.
    #[pyo3(signature = (size=None, /))]
    fn read1<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        match &self.0 {
            Source::Received(reader) => read_received(py, reader, to_limit(size)),
            Source::Stream(stream) => read_stream(py, &**stream, to_limit(size), Until::Any),
        }
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
