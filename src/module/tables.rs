//! The tables of options, for the commands that are written in Python: `rustwsgi convert` and
//! `rustwsgi init`.

use std::ffi::OsString;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::{cli, config};

/// The columns of one option: name, section, short flag, long flags, whether it is a flag, whether
/// it is repeatable, gunicorn's name, uWSGI's names.
type Row = (
    &'static str,
    &'static str,
    String,
    Vec<String>,
    bool,
    bool,
    Option<&'static str>,
    Vec<&'static str>,
);

/// All options, in the order of the documentation.
#[pyfunction]
pub(super) fn option_rows() -> Vec<Row> {
    let rows = config::option_rows().into_iter();
    let columns = rows.map(|row| {
        let config::OptionRow {
            name,
            section,
            short,
            flags,
            is_flag,
            is_repeatable,
            gunicorn,
            uwsgi,
        } = row;
        (name, section, short, flags, is_flag, is_repeatable, gunicorn, uwsgi.to_vec())
    });
    columns.collect()
}

/// gunicorn's settings that are no options here: name, flag, whether the flag takes a value.
#[pyfunction]
pub(super) fn gunicorn_rows() -> Vec<(&'static str, &'static str, bool)> {
    config::gunicorn_rows()
}

/// Why a setting of gunicorn has no effect here, unless it has gunicorn's default.
#[pyfunction]
pub(super) fn gunicorn_reason(name: &str, values: Vec<String>) -> Option<&'static str> {
    config::gunicorn_reason(name, &values)
}

/// What to write in place of an option of uWSGI.
#[pyfunction]
pub(super) fn uwsgi_advice(name: &str) -> Option<String> {
    config::uwsgi_advice(name)
}

/// The error that a file with these options would cause, if any.
#[pyfunction]
pub(super) fn check_options(options: Vec<(String, Vec<String>)>) -> Option<String> {
    let exit = config::parse_api(&options).err()?;
    let message = exit.message.trim_end();
    Some(message.strip_prefix("error: ").unwrap_or(message).to_owned())
}

/// The options that the environment and the files in the working directory set. Raises ValueError
/// if one is invalid, or the application of the command line.
#[pyfunction]
pub(super) fn resolved_options(
    py: Python<'_>,
    argv: Vec<OsString>,
) -> PyResult<Vec<(String, Vec<String>)>> {
    cli::resolved_options(py, &argv).map_err(|message| {
        let message = message.trim_end();
        PyValueError::new_err(message.strip_prefix("error: ").unwrap_or(message).to_owned())
    })
}
