//! `wsgi.file_wrapper`: an iterable over a file's blocks, which the server may send without reading
//! them. [PEP 3333, "Optional Platform-Specific File Handling"]

use std::fs::{File, Metadata};
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;

use crate::sys::descriptors;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyAny, PyType};

/// The wrapper an application gets from `environ["wsgi.file_wrapper"](file, block_size)`.
#[derive(Debug)]
#[pyclass(frozen, module = "rustwsgi._rustwsgi")]
pub struct FileWrapper {
    /// The wrapped object; all that is asked of it is `read(size)`.
    #[pyo3(get)]
    filelike: Py<PyAny>,
    /// How many bytes one block has.
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

    /// Closes the wrapped object, if it can be closed.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.filelike.bind(py).getattr_opt(intern!(py, "close"))? {
            Some(close) => close.call0().map(drop),
            None => Ok(()),
        }
    }
}

/// What of a file is to be sent, without going through Python.
#[derive(Debug)]
pub(super) struct Extent {
    pub(super) file: File,
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl FileWrapper {
    /// The rest of the file from its logical position, if it is a plain file on disk. `None` for
    /// everything else, which is then iterated.
    ///
    /// Only Python's own file objects qualify: others may have a `fileno()` whose bytes are not theirs
    /// (a GzipFile's are compressed). The position is what `tell()` says, not the descriptor's offset,
    /// which read-ahead has moved on.
    pub(super) fn extent(&self, py: Python<'_>) -> Option<Extent> {
        let filelike = self.filelike.bind(py);
        if !is_plain_file(py, filelike).unwrap_or(false) {
            return None;
        }
        if !filelike.call_method0(intern!(py, "readable")).ok()?.is_truthy().ok()? {
            return None;
        }
        // What was written to a temporary file may not be in it yet.
        filelike.call_method0(intern!(py, "flush")).ok()?;
        let offset: u64 = filelike.call_method0(intern!(py, "tell")).ok()?.extract().ok()?;
        let number = || -> Option<RawFd> {
            let fd = filelike.call_method0(intern!(py, "fileno")).ok()?.extract().ok()?;
            (fd >= 0).then_some(fd)
        };
        let fd = number()?;
        // The file object is open (`fileno` of a closed one raises) and is kept alive by `self`. Without a
        // GIL another thread may close it just now; then this fails, or duplicates what has got the number
        // since, which is found out below and dropped unused.
        let file = File::from(descriptors::duplicate(fd).ok()?);
        // A file object forgets its number before it closes it: one that still knows it was open.
        if number() != Some(fd) {
            return None;
        }
        let meta = file.metadata().ok()?;
        if !meta.is_file() || meta.len() == 0 || is_made_up(&file, &meta) {
            return None;
        }
        let length = meta.len().saturating_sub(offset);
        Some(Extent { file, offset, length })
    }
}

/// True for what the kernel makes up as it is read (/proc, /sys): it says anything of its size, and its
/// file system has no blocks to keep it in.
fn is_made_up(file: &File, meta: &Metadata) -> bool {
    meta.blocks() == 0 && rustix::fs::fstatvfs(file).is_ok_and(|system| system.f_blocks == 0)
}

/// True for a FileIO, and for what `open(path, "rb")` and `tempfile.TemporaryFile()` put over one.
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
