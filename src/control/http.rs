//! A request at the metrics address. Its server is this one, so the client knows no more of HTTP
//! than that server uses.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::connection::Stream;
use crate::config::Bind;

/// The length of a response, at most.
const MAX_RESPONSE: usize = 64 * 1024 * 1024;
/// Header fields of a response, at most.
const MAX_FIELDS: usize = 64;

/// The body of a response with status 200.
///
/// # Errors
/// `InvalidData` for any other response, `TimedOut` or `WouldBlock` after the limit.
pub(super) fn get(bind: &Bind, path: &str, limit: Duration) -> io::Result<Vec<u8>> {
    let end = Instant::now() + limit;
    let mut stream = Stream::connect(bind, end)?;
    stream.limit(limit)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut response = Vec::new();
    let mut buffer = [0; 64 * 1024];
    loop {
        if let Some(body) = parse(&response)? {
            return Ok(body.to_vec());
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.limit(left)?;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => response.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The body, if the response is complete.
fn parse(response: &[u8]) -> io::Result<Option<&[u8]>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let parsed = head.parse(response).map_err(|_| invalid("it is not HTTP"))?;
    if response.len() > MAX_RESPONSE {
        return Err(invalid("its response is too long"));
    }
    let httparse::Status::Complete(head_length) = parsed else { return Ok(None) };
    let status = head.code.unwrap_or_default();
    if status != 200 {
        return Err(invalid(&format!("the status of its response is {status}")));
    }
    let length =
        head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok());
    let length: usize = length.ok_or_else(|| invalid("its response has no Content-Length"))?;
    Ok(response[head_length..].get(..length))
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_is_complete_with_its_last_byte() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nX: y\r\n\r\n{}\n";
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).unwrap().is_none(), "{length}");
        }
        assert_eq!(parse(whole).unwrap(), Some(&b"{}\n"[..]));
    }

    #[test]
    fn other_responses_are_refused() {
        for response in [
            &b"SSH-2.0-x\r\n\r\n"[..],
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        ] {
            assert_eq!(parse(response).unwrap_err().kind(), ErrorKind::InvalidData);
        }
    }
}
