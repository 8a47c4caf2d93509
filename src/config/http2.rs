//! The settings of HTTP/2.

/// The protocols that clients may choose from in the TLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpProtocols {
    /// HTTP/1.1
    #[default]
    Http1,
    /// HTTP/2, which is preferred, and HTTP/1.1.
    Both,
    /// HTTP/2 only: a handshake that does not choose it fails.
    Http2,
}

impl HttpProtocols {
    /// Whether clients may choose HTTP/2.
    pub fn has_http2(self) -> bool {
        self != HttpProtocols::Http1
    }
}

/// How clients may begin HTTP/2 without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cleartext {
    /// Not at all.
    #[default]
    Off,
    /// By its preface. [RFC 9113 section 3.3]
    PriorKnowledge,
    /// By a request of HTTP/1.1 with `Upgrade: h2c`. [RFC 7540 section 3.2]
    Upgrade,
    /// By either.
    Both,
}

impl Cleartext {
    /// Whether clients may begin with the preface.
    pub fn has_prior_knowledge(self) -> bool {
        matches!(self, Cleartext::PriorKnowledge | Cleartext::Both)
    }

    /// Whether clients may ask for it in a request.
    pub fn has_upgrade(self) -> bool {
        matches!(self, Cleartext::Upgrade | Cleartext::Both)
    }
}

/// The settings of HTTP/2, apart from the protocols of TLS. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Http2Settings {
    /// How clients may begin it without TLS.
    pub cleartext: Cleartext,
    /// Streams that a client may have open at a time.
    pub max_concurrent_streams: u32,
    /// Bytes of content that a client may send of a stream before some are taken.
    pub initial_window_size: u32,
    /// The size of the largest frame that a client may send.
    pub max_frame_size: u32,
    /// The size of the largest head of a request, as decompressed. [RFC 9113 section 6.5.2]
    pub max_header_list_size: u32,
}

/// Parses the protocols, as a list in any order. Like gunicorn, it takes capitals and empty items.
///
/// # Errors
/// A sentence that says what to write instead.
pub(super) fn parse_protocols(text: &str) -> Result<HttpProtocols, String> {
    let (mut has_http1, mut has_http2) = (false, false);
    for name in text.split(',').map(|name| name.trim().to_ascii_lowercase()) {
        match name.as_str() {
            "h1" => has_http1 = true,
            "h2" => has_http2 = true,
            "" => {}
            _ => return Err(format!("'{name}' is not one of h1, h2")),
        }
    }
    match (has_http1, has_http2) {
        (true, false) => Ok(HttpProtocols::Http1),
        (true, true) => Ok(HttpProtocols::Both),
        (false, true) => Ok(HttpProtocols::Http2),
        (false, false) => Err("there is no protocol; write h2,h1, h1 or h2".to_owned()),
    }
}

/// Parses how clients may begin HTTP/2. A boolean is one of gunicorn's configuration files.
///
/// # Errors
/// A sentence that says what to write instead.
pub(super) fn parse_cleartext(text: &str) -> Result<Cleartext, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "off" | "false" => Ok(Cleartext::Off),
        "prior-knowledge" | "true" => Ok(Cleartext::PriorKnowledge),
        "upgrade" => Ok(Cleartext::Upgrade),
        "both" => Ok(Cleartext::Both),
        _ => Err("not one of off, prior-knowledge, upgrade, both".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleartext_has_the_words_and_booleans_of_gunicorn() {
        for (text, expected) in [
            ("off", Some((false, false))),
            ("False", Some((false, false))),
            ("True", Some((true, false))),
            ("prior-knowledge", Some((true, false))),
            ("upgrade", Some((false, true))),
            ("both", Some((true, true))),
            ("on", None),
        ] {
            let ways = |found: Cleartext| (found.has_prior_knowledge(), found.has_upgrade());
            assert_eq!(parse_cleartext(text).ok().map(ways), expected, "{text}");
        }
    }

    #[test]
    fn protocols_are_a_list() {
        for text in ["h1,h2", "h2,h1", "h2, h1", "H2,H1,"] {
            assert_eq!(parse_protocols(text), Ok(HttpProtocols::Both), "{text}");
        }
        for text in ["h1", "h1,", " H1"] {
            assert_eq!(parse_protocols(text), Ok(HttpProtocols::Http1), "{text}");
        }
        assert_eq!(parse_protocols("h2"), Ok(HttpProtocols::Http2));
        for text in ["", ",", "h3", "h1,h3", "http/1.1"] {
            assert!(parse_protocols(text).is_err(), "{text}");
        }
    }
}
