//! The head of a request as HTTP/1.1 writes it, so that one parser applies the rules and the limits
//! of both protocols. HTTP/2 has checked that no name and no value breaks a line. [RFC 9113 section
//! 8.2.1]

use http::request::Parts;
use http::{HeaderValue, Method, header};

use crate::http1::{self, trim_ows};

/// What each field counts beside its name and its value. [RFC 9113 section 6.5.2]
const FIELD_BYTES: usize = 32;

/// Writes the head to `out`. Fails if it is larger than `max_list_size`, or the request cannot be
/// written so.
pub(super) fn write_head(
    request: &Parts,
    max_list_size: u32,
    out: &mut Vec<u8>,
) -> Result<(), http1::Error> {
    let (uri, fields) = (&request.uri, &request.headers);
    if list_size(request) > max_list_size as usize {
        return Err(http1::Error::HeaderListTooLarge);
    }
    if request.method == Method::CONNECT {
        return Err(http1::Error::Connect);
    }
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(b" HTTP/2\r\n");
    if let Some(authority) = uri.authority() {
        write_field(b"host", authority.as_str().as_bytes(), out);
        let hosts = fields.get_all(header::HOST);
        // One request must not mean two hosts. [RFC 9113 section 8.3.1]
        let is_authority = |host: &HeaderValue| {
            host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
        };
        if hosts.iter().count() > 1 || !hosts.iter().all(is_authority) {
            return Err(http1::Error::Host);
        }
    }
    let has_authority = uri.authority().is_some();
    for (name, value) in fields {
        let value = value.as_bytes();
        // "A field value MUST NOT start or end with an ASCII whitespace character." [RFC 9113
        // section 8.2.1]
        if trim_ows(value).len() != value.len() {
            return Err(http1::Error::Field);
        }
        if has_authority && name == header::HOST {
            continue;
        }
        // The parts of one cookie field may be separate fields. [RFC 9113 section 8.2.3]
        if name == header::COOKIE {
            continue;
        }
        write_field(name.as_str().as_bytes(), value, out);
    }
    write_cookies(fields, out);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// The size of the head as the client has sent it, not compressed. [RFC 9113 section 6.5.2]
fn list_size(request: &Parts) -> usize {
    let uri = &request.uri;
    let pseudo = [
        (":method", request.method.as_str()),
        (":scheme", uri.scheme_str().unwrap_or_default()),
        (":authority", uri.authority().map_or("", |authority| authority.as_str())),
        (":path", uri.path_and_query().map_or("", |path| path.as_str())),
    ];
    let pseudo = pseudo.iter().filter(|(_, value)| !value.is_empty());
    let pseudo = pseudo.map(|(name, value)| name.len() + value.len() + FIELD_BYTES);
    let fields = request.headers.iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES);
    pseudo.sum::<usize>() + fields.sum::<usize>()
}

fn write_cookies(fields: &http::HeaderMap, out: &mut Vec<u8>) {
    let mut separator: &[u8] = b"cookie: ";
    for part in fields.get_all(header::COOKIE) {
        out.extend_from_slice(separator);
        out.extend_from_slice(part.as_bytes());
        separator = b"; ";
    }
    if separator == b"; " {
        out.extend_from_slice(b"\r\n");
    }
}

fn write_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(request: http::request::Builder) -> Result<String, http1::Error> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut out = Vec::new();
        write_head(&parts, u32::MAX, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn head_over_the_list_size_is_refused() {
        let request = http::Request::get("https://a.example/x").header("x-a", "123");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        // `:method: GET`, `:scheme: https`, `:authority: a.example`, `:path: /x`, `x-a: 123`
        let size = 5 * 32 + 10 + 12 + 19 + 7 + 6;
        let written = |limit| write_head(&parts, limit, &mut Vec::new());
        assert_eq!(written(size), Ok(()));
        assert_eq!(written(size - 1), Err(http1::Error::HeaderListTooLarge));
    }

    #[test]
    fn request_is_written_as_http1_with_its_authority_as_host() {
        let request = http::Request::get("https://a.example:8443/x?y=%20")
            .header("accept", "*/*")
            .header("cookie", "a=1")
            .header("host", "A.example:8443")
            .header("cookie", "b=2");
        let expected = "GET /x?y=%20 HTTP/2\r\nhost: a.example:8443\r\naccept: */*\r\n\
                        cookie: a=1; b=2\r\n\r\n";
        assert_eq!(written(request).as_deref(), Ok(expected));
        let request = http::Request::options("*").header("host", "a");
        assert_eq!(written(request).as_deref(), Ok("OPTIONS * HTTP/2\r\nhost: a\r\n\r\n"));
    }

    #[test]
    fn request_for_two_hosts_is_refused() {
        for hosts in [&["b.example"][..], &["a.example", "b.example"], &["a.example"; 2]] {
            let request = http::Request::get("https://a.example/");
            let request = hosts.iter().fold(request, |request, host| request.header("host", *host));
            assert_eq!(written(request), Err(http1::Error::Host), "{hosts:?}");
        }
        assert_eq!(written(http::Request::connect("a:1")), Err(http1::Error::Connect));
    }

    #[test]
    fn value_with_whitespace_around_it_is_refused() {
        for (value, is_valid) in [("a \tb", true), ("", true), (" a", false), ("a\t", false)] {
            let request = http::Request::get("https://a/").header("x-a", value);
            assert_eq!(written(request).is_ok(), is_valid, "{value:?}");
        }
    }
}
