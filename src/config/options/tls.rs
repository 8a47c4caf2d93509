//! Certificates, keys, and the addresses beside HTTPS.

use crate::config::field::{List, Many, Maybe, One};
use crate::config::notation::{
    ACME_DIRECTORY, ADDRESS, CERT_REQS, DOMAIN, EMAIL, PATH, TLS_VERSION,
};
use crate::config::option::{OptionDef, Reload, option};

pub(in crate::config) const OPTIONS: &[OptionDef] = &[
    option("certfile", &Many(PATH, |given| &mut given.settings.tls.certfiles))
        .takes("FILE")
        .help(
            "Certificate chain in the PEM format: every TCP address of --bind then speaks HTTPS \
             (repeatable: chosen by the name that a client asks for, else the first)",
        )
        .aliases(&["ssl-certfile"])
        .gunicorn("certfile")
        .reload(Reload::ByMaster),
    option("keyfile", &Many(PATH, |given| &mut given.settings.tls.keyfiles))
        .takes("FILE")
        .help(
            "Key of the certificate in the PEM format, without a passphrase [default: it is in \
             --certfile] (repeatable: one for each --certfile)",
        )
        .aliases(&["ssl-keyfile"])
        .gunicorn("keyfile")
        .reload(Reload::ByMaster),
    option("ca_certs", &Maybe(PATH, |given| &mut given.settings.tls.ca_certs))
        .takes("FILE")
        .help("Certificates of the authorities that sign the clients' certificates, in PEM")
        .aliases(&["ssl-ca-certs"])
        .gunicorn("ca_certs")
        .reload(Reload::ByMaster),
    option("cert_reqs", &One(CERT_REQS, |given| &mut given.settings.tls.cert_reqs))
        .takes("WHICH")
        .default("none")
        .help(
            "Whether clients need a certificate: none, optional or required (also 0, 1 and 2); \
             optional and required refuse one that cannot be verified",
        )
        .aliases(&["ssl-cert-reqs"])
        .gunicorn("cert_reqs"),
    option("ca_crl", &Maybe(PATH, |given| &mut given.settings.tls.ca_crl))
        .takes("FILE")
        .help("Revocation lists of all authorities in a client's chain, in PEM")
        .reload(Reload::ByMaster),
    option("tls_min_version", &One(TLS_VERSION, |given| &mut given.settings.tls.min_version))
        .takes("VERSION")
        .default("1.2")
        .help("Oldest version of TLS: 1.2 or 1.3"),
    option("acme_domain", &Many(DOMAIN, |given| &mut given.settings.tls.acme.domains))
        .takes("NAME")
        .of_master()
        .help(
            "Order and renew a certificate for this name with ACME, and accept the terms of the \
             authority (repeatable: one certificate for all names)",
        )
        .reload(Reload::ByMaster),
    option("acme_email", &Maybe(EMAIL, |given| &mut given.settings.tls.acme.email))
        .takes("ADDRESS")
        .of_master()
        .help("Mail address at which the ACME authority may reach the operator")
        .reload(Reload::ByMaster),
    option("acme_directory", &One(ACME_DIRECTORY, |given| &mut given.settings.tls.acme.directory))
        .takes("URL")
        .default("https://acme-v02.api.letsencrypt.org/directory")
        .of_master()
        .help("Directory of the ACME authority")
        .reload(Reload::ByMaster),
    option("acme_cache", &Maybe(PATH, |given| &mut given.settings.tls.acme.cache))
        .takes("DIR")
        .of_master()
        .help(
            "Directory of the ACME account, certificate and state, which no other user may read \
             [default: acme in $STATE_DIRECTORY, else rustwsgi/acme in $XDG_DATA_HOME or \
             ~/.local/share]",
        )
        .reload(Reload::ByMaster),
    option("insecure_bind", &List(ADDRESS, |given| &mut given.settings.insecure_binds))
        .takes("ADDRESS")
        .help("Address of plain HTTP beside HTTPS (repeatable)")
        .reload(Reload::ByMaster),
    option("redirect_bind", &List(ADDRESS, |given| &mut given.settings.redirect_binds))
        .takes("ADDRESS")
        .help("Address that redirects every request to HTTPS with 308 (repeatable)")
        .reload(Reload::ByMaster),
];
