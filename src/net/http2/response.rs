//! The head of a response as HTTP/2 has it: names in lower case, and no reason phrase. [RFC 9113
//! section 8.3.2]

use http::{HeaderName, HeaderValue, Response, StatusCode};

use crate::http1::{ResponseHead, trim_ows};

/// The head of a final response. `length` is its Content-Length, if it has one; `date` is an
/// HTTP-date.
pub(in crate::net) fn head(
    response: &ResponseHead,
    length: Option<u64>,
    date: &[u8],
) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::from_u16(response.status()).unwrap_or_default();
    let (mut has_server, mut has_date, mut has_length) = (false, false, false);
    for (name, value) in response.fields() {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"date") => has_date = true,
            6 if name.eq_ignore_ascii_case(b"server") => has_server = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if response.content_length() != length {
                    continue;
                }
                has_length = true;
            }
            _ => {}
        }
        add(&mut head, name, value);
    }
    if !has_server {
        head.headers_mut().insert(http::header::SERVER, HeaderValue::from_static("rustwsgi"));
    }
    if !has_date {
        add(&mut head, b"date", date);
    }
    if let (Some(length), false) = (length, has_length) {
        head.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
    }
    head
}

/// An interim response, from its head in HTTP/1.1.
pub(in crate::net) fn interim(text: &[u8]) -> Response<()> {
    let mut head = Response::new(());
    let mut lines =
        text.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let status = lines.next().and_then(|line| StatusCode::from_bytes(line.get(9..12)?).ok());
    *head.status_mut() = status.unwrap_or(StatusCode::CONTINUE);
    for line in lines {
        if let Some(colon) = memchr::memchr(b':', line) {
            add(&mut head, &line[..colon], &line[colon + 1..]);
        }
    }
    head
}

/// Adds a field, which `http1` has validated.
fn add(head: &mut Response<()>, name: &[u8], value: &[u8]) {
    let field = (HeaderName::from_bytes(name), HeaderValue::from_bytes(trim_ows(value)));
    if let (Ok(name), Ok(value)) = field {
        // More fields than the library can hold, some ten thousand, are left out.
        let _ = head.headers_mut().try_append(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(head: &Response<()>) -> Vec<(&str, &str)> {
        let fields = head.headers().iter();
        fields.map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect()
    }

    #[test]
    fn head_has_lower_case_names_and_the_length_that_is_sent() {
        let mut response = ResponseHead::default();
        response.start(b"404 Not There").unwrap();
        response.add_field(b"X-A", b" 1 ").unwrap();
        response.add_field(b"Content-Length", b"5").unwrap();
        response.add_field(b"Set-Cookie", b"a=1").unwrap();
        response.add_field(b"Set-Cookie", b"b=2").unwrap();
        let with_length = head(&response, Some(5), b"now");
        assert_eq!(with_length.status(), 404);
        let expected = [
            ("x-a", "1"),
            ("content-length", "5"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("server", "rustwsgi"),
            ("date", "now"),
        ];
        assert_eq!(fields(&with_length), expected);
        let without = head(&response, None, b"now");
        assert!(!without.headers().contains_key("content-length"));
        assert_eq!(head(&response, Some(4), b"").headers()["content-length"], "4");
    }

    #[test]
    fn interim_head_has_the_fields_of_its_text() {
        let text = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n";
        let hints = interim(text);
        assert_eq!(hints.status(), 103);
        assert_eq!(fields(&hints), [("link", "</a>; rel=preload")]);
        assert_eq!(interim(b"HTTP/1.1 100 Continue\r\n\r\n").status(), 100);
    }
}
