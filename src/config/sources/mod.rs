//! Where options come from besides the command line.

pub(super) mod files;
pub(super) mod gunicorn_cmd_args;
