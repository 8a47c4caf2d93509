//! The notations of the options of HTTP/2.

use clap::builder::ValueParser;
use toml::Value;

use super::Notation;
use crate::config::http2::{Cleartext, HttpProtocols, parse_cleartext, parse_protocols};

/// A list of `h1` and `h2`.
pub(in crate::config) const HTTP_PROTOCOLS: &Notation<HttpProtocols> = &Notation::new(
    || ValueParser::new(parse_protocols),
    |protocols| {
        Value::from(match protocols {
            HttpProtocols::Http1 => "h1",
            HttpProtocols::Both => "h2,h1",
            HttpProtocols::Http2 => "h2",
        })
    },
);

/// `off`, `prior-knowledge`, `upgrade` or `both`.
pub(in crate::config) const CLEARTEXT: &Notation<Cleartext> = &Notation::new(
    || ValueParser::new(parse_cleartext),
    |cleartext| {
        Value::from(match cleartext {
            Cleartext::Off => "off",
            Cleartext::PriorKnowledge => "prior-knowledge",
            Cleartext::Upgrade => "upgrade",
            Cleartext::Both => "both",
        })
    },
);
