//! The TLS of one process: the configuration that new connections get, which a renewed certificate
//! replaces.

use std::fmt;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use socket2::Socket;

use super::challenges::Challenges;
use super::config::build;
use super::material::Material;
use super::records::Records;
use super::stream::TlsStream;
use super::tickets::TicketKeys;
use crate::config::TlsSettings;
use crate::net::memory_budget::MemoryBudget;
use crate::sync::ignore_poison;

/// The TLS of this process. Connections keep the configuration that they began with.
pub struct Tls {
    settings: TlsSettings,
    /// The responses to an authority of ACME, if one is used.
    challenges: Option<Arc<Challenges>>,
    current: Mutex<Arc<ServerConfig>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Tls {
    /// # Errors
    /// A sentence that names the file that cannot be used.
    pub fn new(
        material: &Material,
        keys: &TicketKeys,
        settings: &TlsSettings,
        challenges: Option<Arc<Challenges>>,
    ) -> Result<Tls, String> {
        let config = Arc::new(build(material, keys, settings, challenges.as_ref())?);
        Ok(Tls { settings: settings.clone(), challenges, current: Mutex::new(config) })
    }

    /// The responses to an authority of ACME, if one is used.
    pub fn challenges(&self) -> Option<&Arc<Challenges>> {
        self.challenges.as_ref()
    }

    /// Lets new connections use other certificates and keys.
    ///
    /// # Errors
    /// As [`Tls::new`]; the certificates and keys in use stay.
    pub fn replace(&self, material: &Material, keys: &TicketKeys) -> Result<(), String> {
        let config = Arc::new(build(material, keys, &self.settings, self.challenges.as_ref())?);
        *ignore_poison(self.current.lock()) = config;
        Ok(())
    }

    /// The same with what [`Renewal::encode`](super::Renewal::encode) has written.
    ///
    /// # Errors
    /// As [`Tls::replace`]; also if the bytes are incomplete.
    pub fn replace_encoded(&self, mut bytes: &[u8]) -> Result<(), String> {
        let material = Material::decode(&mut bytes);
        let decoded = material.and_then(|material| Some((material, TicketKeys::decode(bytes)?)));
        let (material, keys) = decoded.ok_or("the certificates are incomplete")?;
        self.replace(&material, &keys)
    }

    /// A session over an accepted socket.
    ///
    /// # Errors
    /// As rustls: without random bytes.
    pub(in crate::net) fn accept(
        &self,
        socket: Socket,
        memory_budget: &Arc<MemoryBudget>,
    ) -> Result<TlsStream, rustls::Error> {
        let config = ignore_poison(self.current.lock()).clone();
        Ok(TlsStream::new(socket, Records::new(config)?, memory_budget.clone()))
    }
}
