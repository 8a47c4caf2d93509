//! The values of all options as they were given, on the way to [`Settings`].

use std::os::fd::RawFd;
use std::path::PathBuf;

use super::notation::WorkerClass;
use super::settings::Settings;
use crate::observe::LogTarget;
use crate::proxies::ForwardedFields;

/// Most options are stored in the settings directly. The other fields belong to options that
/// [`resolve`](super::resolve) combines.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) settings: Settings,
    pub(super) app: Option<String>,
    pub(super) factory: bool,
    pub(super) paste: Option<String>,
    pub(super) paste_global: Vec<(String, String)>,
    pub(super) app_dir: Option<PathBuf>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) uds: Option<PathBuf>,
    pub(super) fd: Option<RawFd>,
    pub(super) forwarded_headers: Vec<ForwardedFields>,
    pub(super) threads: Option<usize>,
    pub(super) worker_class: Option<WorkerClass>,
    pub(super) reload: bool,
    pub(super) reload_extra_files: Vec<PathBuf>,
    pub(super) access_log: bool,
    pub(super) access_log_target: Option<LogTarget>,
    pub(super) access_log_format: String,
}

impl From<Settings> for Given {
    fn from(settings: Settings) -> Given {
        Given {
            settings,
            app: None,
            factory: false,
            paste: None,
            paste_global: Vec::new(),
            app_dir: None,
            host: None,
            port: None,
            uds: None,
            fd: None,
            forwarded_headers: Vec::new(),
            threads: None,
            worker_class: None,
            reload: false,
            reload_extra_files: Vec::new(),
            access_log: false,
            access_log_target: None,
            access_log_format: String::new(),
        }
    }
}
