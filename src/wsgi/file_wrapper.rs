//! `wsgi.file_wrapper`: an iterable over the blocks of a file. If the server recognises a plain
//! file in it, the kernel copies the file to the socket instead.
//! [PEP 3333, "Optional Platform-Specific File Handling"]

use std::fs::{File, Metadata};
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyAny, PyType};

use crate::sys::descriptors;

/// What `environ["wsgi.file_wrapper"](file, block_size)` returns.
#[derive(Debug)]
#[pyclass(frozen, module = "rustwsgi._rustwsgi")]
pub struct FileWrapper {
    /// The wrapped object. It needs `read(size)`; `close()` is called if it has one.
    #[pyo3(get)]
    filelike: Py<PyAny>,
    /// The size of a block in bytes.
    #[pyo3(get)]
    block_size: usize,
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, block_size=8192, /))]
    fn new(filelike: Py<PyAny>, block_size: usize) -> FileWrapper {
        FileWrapper { filelike, block_size: block_size.max(1) }
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let block = self.filelike.bind(py).call_method1(intern!(py, "read"), (self.block_size,))?;
        Ok(if block.is_truthy()? { Some(block) } else { None })
    }

    /// Closes the wrapped object, if it has a method `close`.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.filelike.bind(py).getattr_opt(intern!(py, "close"))? {
            Some(close) => close.call0().map(drop),
            None => Ok(()),
        }
    }
}

/// The part of a file that the kernel copies to the socket. `offset` and `length` are in bytes.
#[derive(Debug)]
pub(super) struct Extent {
    pub(super) file: File,
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl FileWrapper {
    /// The rest of the file from its current position, if it is a plain file on disk. `None` for
    /// any other object, which the caller iterates.
    ///
    /// Only Python's own file objects qualify. Others may have a `fileno()` whose bytes differ from
    /// what `read()` returns (a GzipFile's are compressed). The position is that of `tell()`:
    /// the offset of the descriptor is ahead of it, because Python reads ahead.
    pub(super) fn extent(&self, py: Python<'_>) -> Option<Extent> {
        let filelike = self.filelike.bind(py);
        if !is_plain_file(py, filelike).unwrap_or(false) {
            return None;
        }
        if !filelike.call_method0(intern!(py, "readable")).ok()?.is_truthy().ok()? {
            return None;
        }
        // Data written to a temporary file may still be in Python's buffer.
        filelike.call_method0(intern!(py, "flush")).ok()?;
        let offset: u64 = filelike.call_method0(intern!(py, "tell")).ok()?.extract().ok()?;
        let fileno = || -> Option<RawFd> {
            let fd = filelike.call_method0(intern!(py, "fileno")).ok()?.extract().ok()?;
            (fd >= 0).then_some(fd)
        };
        let fd = fileno()?;
        // The file object is open (`fileno` of a closed one raises) and `self` keeps it alive.
        // Without a GIL another thread may close it at this moment. Then `dup` fails, or duplicates
        // the file that was given the number since, which the check below finds and drops unused.
        let file = File::from(descriptors::duplicate(fd).ok()?);
        // A file object clears its number before it closes the descriptor: if it still has the
        // number, the descriptor was open.
        if fileno() != Some(fd) {
            return None;
        }
        let meta = file.metadata().ok()?;
        if !meta.is_file() || meta.len() == 0 || is_virtual(&file, &meta) {
            return None;
        }
        let length = meta.len().saturating_sub(offset);
        Some(Extent { file, offset, length })
    }
}

/// True for files that the kernel generates on read, as in /proc and /sys: their size says nothing
/// about their content. Their file systems have no blocks.
fn is_virtual(file: &File, meta: &Metadata) -> bool {
    meta.blocks() == 0 && rustix::fs::fstatvfs(file).is_ok_and(|system| system.f_blocks == 0)
}

/// True for a FileIO, and for a BufferedReader or BufferedRandom over one, which are what
/// `open(path, "rb")` and `tempfile.TemporaryFile()` return.
fn is_plain_file(py: Python<'_>, object: &Bound<'_, PyAny>) -> PyResult<bool> {
    static TYPES: PyOnceLock<[Py<PyType>; 3]> = PyOnceLock::new();
    let [file_io, reader, random] = TYPES.get_or_try_init(py, || -> PyResult<_> {
        let io = py.import("io")?;
        let class = |name| io.getattr(name)?.extract::<Py<PyType>>().map_err(PyErr::from);
        Ok([class("FileIO")?, class("BufferedReader")?, class("BufferedRandom")?])
    })?;
    let class = object.get_type();
    if class.is(file_io) {
        return Ok(true);
    }
    Ok((class.is(reader) || class.is(random))
        && object.getattr(intern!(py, "raw"))?.get_type().is(file_io))
}
