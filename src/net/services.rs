//! Assigns each listener its service, once all listeners and the certificates are there.

use std::sync::Arc;

use super::listener::Listener;
use super::service::Service;
use super::tls::Tls;
use crate::config::Purpose;

/// The port of HTTPS, for redirects if no listener has TLS.
const HTTPS_PORT: u16 = 443;

/// Gives each listener its service, after its purpose. Without `tls` none has TLS; unix sockets
/// never have.
pub fn assign_services(listeners: &mut [Listener], tls: Option<&Arc<Tls>>) {
    let is_https = |listener: &Listener| {
        listener.purpose == Purpose::Application && listener.tcp_address().is_some()
    };
    let first = listeners.iter().filter(|listener| is_https(listener)).find_map(|listener| {
        let address = listener.tcp_address()?;
        tls.map(|_| address.port())
    });
    for listener in listeners {
        let service = match (listener.purpose, tls) {
            (Purpose::Redirect, _) => Service::Redirect(first.unwrap_or(HTTPS_PORT)),
            (Purpose::Application, Some(tls)) if is_https(listener) => Service::Https(tls.clone()),
            (Purpose::Application | Purpose::Insecure, _) => Service::Http,
        };
        listener.service = service;
    }
}
