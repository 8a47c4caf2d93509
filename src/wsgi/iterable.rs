//! Sends the iterable that the application returned. [PEP 3333, "Specification Details"]

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyBytes, PyIterator, PyString};

use super::block::yielded;
use super::failure::Failure;
use super::file_wrapper::FileWrapper;
use super::fork;
use super::request::report_length;
use super::response::{Queued, Response};

/// Sends the blocks of a list or tuple and ends the response. The length of the content is known,
/// and head and content go out together.
pub(super) fn send_sequence(
    py: Python<'_>,
    response: &Response,
    items: &[Bound<'_, PyAny>],
) -> Result<(), Failure> {
    let ended = match items {
        [item] => response.queue_all(py, &[yielded(item)?]),
        _ => {
            let blocks = items.iter().map(yielded).collect::<PyResult<Vec<_>>>()?;
            response.queue_all(py, &blocks)
        }
    };
    report_length(py, response, ended)
}

/// Sends a file, or every block of any other iterable. Does not end the response.
pub(super) fn send_iterable(
    py: Python<'_>,
    response: &Response,
    returned: &Bound<'_, PyAny>,
) -> Result<(), Failure> {
    if returned.is_instance_of::<PyBytes>() || returned.is_instance_of::<PyString>() {
        // Iterating it would yield a number or a character for each byte.
        let type_name = returned.get_type().name()?;
        return Err(Failure::App(PyTypeError::new_err(format!(
            "a WSGI application must return an iterable of bytes, not {type_name}: return [body]"
        ))));
    }
    if let Ok(wrapper) = returned.cast_exact::<FileWrapper>()
        && response.is_started(py)
        && let Some(mut extent) = wrapper.get().extent(py)
    {
        if let Some(declared) = response.declared_length(py) {
            extent.length = extent.length.min(declared);
        }
        return Ok(response.queue_file(py, extent)?);
    }
    // A server may call len(iterable): if it is 1, the first block is the whole content.
    // [PEP 3333, "Handling the Content-Length Header"]
    let is_single = returned.hasattr(intern!(py, "__len__"))? && matches!(returned.len(), Ok(1));
    let blocks = returned.try_iter().map_err(|error| match is_iterable(returned) {
        true => error,
        false => not_iterable(returned),
    })?;
    send_blocks(py, response, blocks, is_single)
}

fn is_iterable(returned: &Bound<'_, PyAny>) -> bool {
    let class = returned.get_type();
    ["__iter__", "__getitem__"].iter().any(|name| class.hasattr(*name).unwrap_or(true))
}

/// The exception for an object that is not iterable. Python's own names neither the application nor
/// what it should have returned.
fn not_iterable(returned: &Bound<'_, PyAny>) -> PyErr {
    const RULE: &str = "a WSGI application must return an iterable of bytes";
    PyTypeError::new_err(match returned.get_type().name() {
        _ if returned.is_none() => format!(
            "{RULE}, but this one returned None: is there a path through it without \
             `return [body]`?"
        ),
        Ok(type_name) if returned.is_callable() => format!(
            "{RULE}, not {type_name}: if it is a factory that returned this, name it with (), as \
             in module:create_app()"
        ),
        Ok(type_name) => format!("{RULE}, not {type_name}: return [body]"),
        Err(_) => RULE.to_owned(),
    })
}

/// Sends each block before it asks for the next. An empty block sends nothing, not even the head:
/// the application may still call start_response again.
fn send_blocks(
    py: Python<'_>,
    response: &Response,
    blocks: Bound<'_, PyIterator>,
    is_single: bool,
) -> Result<(), Failure> {
    for item in blocks {
        fork::exit_if_forked(py, item.as_ref().err());
        let item = item?;
        let block = yielded(&item)?;
        let size = block.as_bytes().len();
        if size == 0 {
            continue;
        }
        if response.send(block, is_single.then_some(size as u64))? != Queued::All {
            break;
        }
    }
    Ok(())
}
