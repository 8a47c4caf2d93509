//! The options of other servers, and what to use instead of them.

pub(super) mod gunicorn;
pub(super) mod gunicorn_cfg;
pub(super) mod others;
pub(super) mod uwsgi;
mod uwsgi_rare;
