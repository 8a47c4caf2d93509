//! The limits of the parser, which bound the memory that one request can make the server use. Each
//! is a command line option; the defaults are close to gunicorn's.

/// Upper limits for one request. All sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The size of the request line without its CRLF, else 414. [RFC 9112 section 3]
    pub request_line: usize,
    /// The number of header fields, else 431; the same for trailer fields. [RFC 6585 section 5]
    pub fields: usize,
    /// The size of one field line without its CRLF, else 431.
    pub field_size: usize,
    /// The size of the request line and all fields together, else 431.
    pub head: usize,
    /// The size of the content, decoded, else 413. `u64::MAX` means no limit.
    pub body: u64,
    /// The size of the extensions of one chunk, else 400. [RFC 9112 section 7.1.1]
    pub chunk_extension: usize,
    /// The size of the whole trailer section, else 431. [RFC 9112 section 7.1.2]
    pub trailers: usize,
    /// What to do with field names that have an underscore, which an environ does not distinguish
    /// from a hyphen.
    pub underscores: Underscores,
}

/// How fields with an underscore in their name are handled. `X_Forwarded_For` and `X-Forwarded-For`
/// both become `HTTP_X_FORWARDED_FOR`, so a client could forge the field of a proxy by the first.
/// It is therefore passed to the application only if a trusted proxy has sent it, and
/// `--forwarder-headers` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Underscores {
    /// The field is kept apart from the others, in [`Head::underscored`](super::Head::underscored)
    /// (the default; nginx drops it, too).
    #[default]
    Drop,
    /// The request is rejected with 400.
    Refuse,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            request_line: 8 * 1024,
            fields: 100,
            field_size: 8 * 1024,
            head: 64 * 1024,
            body: 1 << 30,
            chunk_extension: 4 * 1024,
            trailers: 16 * 1024,
            underscores: Underscores::Drop,
        }
    }
}
