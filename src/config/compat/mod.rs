//! What other servers call their options, and what to use instead of them here.

pub(super) mod gunicorn;
pub(super) mod uwsgi;
