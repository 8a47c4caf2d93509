//! The bounds the parser keeps, so that no request can make the server hold more than it was told
//! it may. Each is an option of the command line; the defaults are close to gunicorn's.

/// Upper bounds on what one request may send. All sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The request line without its CRLF; longer is 414. [RFC 9112 section 3]
    pub request_line: usize,
    /// The number of header fields; more is 431. [RFC 6585 section 5]
    pub fields: usize,
    /// One header field line without its CRLF; longer is 431.
    pub field_size: usize,
    /// Request line and all fields together; larger is 431.
    pub head: usize,
    /// The request's content, decoded; larger is 413. `u64::MAX` is no limit.
    pub body: u64,
    /// The extensions of one chunk; longer is 400. [RFC 9112 section 7.1.1]
    pub chunk_extension: usize,
    /// The trailer section in all; larger is 431. [RFC 9112 section 7.1.2]
    pub trailers: usize,
    /// What happens to field names with an underscore, which WSGI cannot tell from a hyphen.
    pub underscores: Underscores,
}

/// `X_Forwarded_For` and `X-Forwarded-For` both become `HTTP_X_FORWARDED_FOR`: a client could pose as
/// a proxy's field with the first, so it never reaches the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Underscores {
    /// The field is left out of the environ (the default; nginx does the same).
    #[default]
    Drop,
    /// The request is refused with 400.
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
