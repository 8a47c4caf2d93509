//! The sources of options besides the command line. Each gives its options as
//! [`Entry`](super::precedence::Entry) values.

pub(super) mod environment;
pub(super) mod files;
pub(super) mod gunicorn_cmd_args;
pub(super) mod gunicorn_py;
pub(super) mod integration;
pub(super) mod keywords;
pub(super) mod lookup;
mod toml;
