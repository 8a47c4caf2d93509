//! Header fields with an underscore in their name, which a trusted proxy may set:
//! `--forwarder-headers`. All others are dropped, because `X_Forwarded_For` and `X-Forwarded-For`
//! have the same key in an environ.
//!
//! SCRIPT_NAME is the prefix of the application in the URL, as in gunicorn. Any other field becomes
//! a variable with the prefix `HTTP_`, PATH_INFO included. It replaces the value of a field that
//! has hyphens instead: a client may have sent that.

use core::net::IpAddr;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use log::warn;
use percent_encoding::percent_decode;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::ffi::latin1;
use super::names::Names;
use crate::config::Settings;
use crate::http1::Head;
use crate::sync::{Mutex, ignore_poison};

/// How many names of dropped fields are reported. Through a proxy, a client can send any number.
const MAX_REPORTED: usize = 16;

/// The fields that trusted proxies may set.
#[derive(Debug)]
pub(super) struct Forwarder {
    settings: Arc<Settings>,
    /// The names of dropped fields that were reported.
    reported: Mutex<BTreeSet<Vec<u8>>>,
}

impl Forwarder {
    pub(super) fn new(settings: Arc<Settings>) -> Forwarder {
        Forwarder { settings, reported: Mutex::default() }
    }

    /// True if the request is of a trusted proxy that has set such fields. Reports its other fields
    /// with an underscore, which are dropped.
    #[cold]
    pub(super) fn applies(&self, peer: Option<IpAddr>, head: &Head) -> bool {
        if !self.settings.trusts(peer) {
            return false;
        }
        for (name, _) in head.underscored() {
            if !self.settings.is_forwarder_header(name) {
                self.report_dropped(name, peer);
            }
        }
        self.fields(head).next().is_some()
    }

    fn report_dropped(&self, name: &[u8], peer: Option<IpAddr>) {
        let mut reported = ignore_poison(self.reported.lock());
        let name = name.to_ascii_uppercase();
        if reported.len() < MAX_REPORTED && reported.insert(name.clone()) {
            let peer = peer.map_or_else(|| "a Unix socket".to_owned(), |ip| ip.to_string());
            warn!(
                target: "request.field_dropped",
                "Dropped the header field {} from {peer}, as its name has an underscore: name it \
                 in --forwarder-headers, or let the proxy use hyphens",
                name.escape_ascii()
            );
        }
    }

    fn fields<'a>(&'a self, head: &'a Head) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        head.underscored().filter(|(name, _)| self.settings.is_forwarder_header(name))
    }

    /// SCRIPT_NAME, if the proxy has set it. As in gunicorn the last one counts: a proxy that adds
    /// its field appends it.
    pub(super) fn script_name<'a>(&self, head: &'a Head) -> Option<Cow<'a, [u8]>> {
        let is_name = |name: &[u8]| name.eq_ignore_ascii_case(b"SCRIPT_NAME");
        let fields = head.underscored().filter(|(name, _)| is_name(name));
        let (name, value) = fields.last()?;
        if !self.settings.is_forwarder_header(name) {
            return None;
        }
        let end = value.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
        Some(percent_decode(&value[..end]).into())
    }

    /// Sets the variables of the fields.
    pub(super) fn add_fields(&self, environ: &Bound<'_, PyDict>, head: &Head) -> PyResult<()> {
        let py = environ.py();
        if let Some(script_name) = self.script_name(head) {
            environ.set_item(intern!(py, "SCRIPT_NAME"), latin1(py, &script_name))?;
        }
        for (name, value) in self.fields(head) {
            environ.set_item(Names::make_key(py, name), latin1(py, value))?;
        }
        Ok(())
    }
}
