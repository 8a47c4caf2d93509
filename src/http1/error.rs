//! The protocol errors of clients, as one closed list. Each has the status of its response, and a
//! message that names the violated rule. The response and the log print that message.

/// A request that violates the protocol. The response has the status [`Error::status`], and then
/// the connection closes: after a framing error the start of the next request is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An LF without a CR in the head. [RFC 9112 section 2.2]
    #[error("a line ends in LF without CR")]
    BareLf,
    /// The request line is not `method SP target SP version`. [RFC 9112 section 3]
    #[error("the request line is malformed")]
    RequestLine,
    /// The method is not a token. [RFC 9110 section 9.1]
    #[error("the method is malformed")]
    Method,
    /// The first byte starts a TLS handshake: the client was given an `https` URL.
    #[error("this is a TLS handshake, but the address is served without TLS")]
    Tls,
    /// The first line is a header of the PROXY protocol, version 1.
    #[error(
        "a PROXY protocol header, which needs --proxy-protocol, or a proxy that sends plain HTTP"
    )]
    ProxyHeader,
    /// Two empty lines come first. A header of the PROXY protocol, version 2, starts so.
    #[error(
        "two empty lines before the request; a PROXY protocol v2 header starts so, which needs \
         --proxy-protocol, or a proxy that sends plain HTTP"
    )]
    LeadingEmptyLines,
    /// The request target has none of the four forms, or forbidden bytes. [RFC 9112 section 3.2]
    #[error("the request target is malformed")]
    Target,
    /// The version is not `HTTP/` digit `.` digit. [RFC 9112 section 2.3]
    #[error("the HTTP version is malformed")]
    VersionSyntax,
    /// A major version other than 1. [RFC 9110 section 15.6.6]
    #[error("only HTTP/1.0 and HTTP/1.1 are served")]
    Version,
    /// A field line that is not `token ":" value`. [RFC 9112 section 5]
    #[error("a header field is malformed")]
    Field,
    /// A field name with an underscore, under [`Underscores::Refuse`](super::Underscores::Refuse).
    #[error("a header field name has an underscore")]
    Underscore,
    /// Several Host fields, or one that is not `host[:port]`. [RFC 9112 section 3.2]
    #[error("Host is repeated or malformed")]
    Host,
    /// A request of HTTP/1.1 without Host. [RFC 9112 section 3.2]
    #[error("Host is missing, which HTTP/1.1 requires")]
    MissingHost,
    /// An `https` target on a connection without TLS. [RFC 9110 section 7.4]
    #[error("the target is https, but the connection is not secured")]
    Misdirected,
    /// Content-Type appears more than once. [RFC 9110 section 5.3]
    #[error("Content-Type is repeated")]
    RepeatedContentType,
    /// Content-Length is repeated, or is not a decimal number. [RFC 9112 section 6.3]
    #[error("Content-Length is malformed or repeated")]
    ContentLength,
    /// Content-Length together with Transfer-Encoding, which is the classic request smuggling
    /// attack. [RFC 9112 section 6.1]
    #[error("there are both Content-Length and Transfer-Encoding")]
    ConflictingFraming,
    /// Transfer-Encoding is malformed, does not end in `chunked`, or is sent by HTTP/1.0.
    /// [RFC 9112 section 6.1]
    #[error("Transfer-Encoding is malformed")]
    TransferEncoding,
    /// A well-formed transfer coding that this server does not decode. [RFC 9112 section 6.1]
    #[error("the only transfer coding served is chunked")]
    UnknownTransferCoding,
    /// The chunked coding is malformed. [RFC 9112 section 7.1]
    #[error("a chunk is malformed")]
    Chunk,
    /// The extensions of a chunk exceed their limit. [RFC 9112 section 7.1.1]
    #[error("the chunk extensions are too long")]
    ChunkExtension,
    /// A malformed trailer field. [RFC 9112 section 7.1.2]
    #[error("a trailer field is malformed")]
    Trailer,
    /// The request line exceeds its limit. [RFC 9110 section 15.5.15]
    #[error("the request line is too long")]
    RequestLineTooLong,
    /// There are too many header fields or trailer fields. [RFC 6585 section 5]
    #[error("there are too many header fields")]
    TooManyFields,
    /// One header field is too long. [RFC 6585 section 5]
    #[error("a header field is too long")]
    FieldTooLong,
    /// The request line and all header fields together are too long. [RFC 6585 section 5]
    #[error("the request head is too large")]
    HeadTooLarge,
    /// The fields of a head of HTTP/2 are too large. [RFC 9113 section 10.5.1]
    #[error("the header list is too large")]
    HeaderListTooLarge,
    /// The trailer fields together are too long. [RFC 6585 section 5]
    #[error("the trailer fields are too large")]
    TrailersTooLarge,
    /// The content exceeds its limit. [RFC 9110 section 15.5.14]
    #[error("the request content is too large")]
    BodyTooLarge,
    /// An expectation other than 100-continue. [RFC 9110 section 10.1.1]
    #[error("the expectation is unknown")]
    Expectation,
    /// The method is CONNECT, and this is an origin server, not a proxy. [RFC 9110 section 9.3.6]
    #[error("CONNECT is not implemented")]
    Connect,
}

impl Error {
    /// The status code of the response to this error, and its reason phrase.
    pub fn status(self) -> (u16, &'static str) {
        match self {
            Error::RequestLineTooLong => (414, "URI Too Long"),
            Error::TooManyFields
            | Error::FieldTooLong
            | Error::HeadTooLarge
            | Error::HeaderListTooLarge
            | Error::TrailersTooLarge => (431, "Request Header Fields Too Large"),
            Error::BodyTooLarge => (413, "Content Too Large"),
            Error::Expectation => (417, "Expectation Failed"),
            Error::Misdirected => (421, "Misdirected Request"),
            Error::UnknownTransferCoding | Error::Connect => (501, "Not Implemented"),
            Error::Version => (505, "HTTP Version Not Supported"),
            _ => (400, "Bad Request"),
        }
    }
}
