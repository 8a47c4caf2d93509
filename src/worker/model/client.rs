//! The clients. The checker sees them block as it sees the server's threads.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use super::site::{Kind, Site};
use crate::sync::kernel;

/// Makes these requests one after the other, or pipelined, and reads every response to its end.
/// Returns how many responses were complete when the last one was, or when the server closed.
pub(super) fn make_requests(site: &Site, requests: &[(Kind, usize)], pipelined: bool) -> usize {
    let Ok(mut stream) = UnixStream::connect_addr(&site.address) else { return 0 };
    stream.set_nonblocking(true).unwrap();
    kernel::changed();
    let mut seen = Vec::new();
    let mut complete = 0;
    let size = if pipelined { requests.len() } else { 1 };
    'all: for batch in requests.chunks(size) {
        let text: String = batch
            .iter()
            .map(|(kind, n)| format!("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", kind.target(*n)))
            .collect();
        if stream.write_all(text.as_bytes()).is_err() {
            break;
        }
        kernel::changed();
        for _ in batch {
            if !read_response(&mut stream, &mut seen) {
                break 'all;
            }
            complete += 1;
        }
    }
    drop(stream);
    kernel::changed();
    complete
}

/// Where the first response in `seen` ends, if it is complete.
fn end_of_response(seen: &[u8]) -> Option<usize> {
    let find = |what: &[u8]| seen.windows(what.len()).position(|window| window == what);
    let content = find(b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&seen[..content]).unwrap().to_ascii_lowercase();
    match head.split_once("content-length: ") {
        Some((_, rest)) => {
            let length: usize = rest.split_once('\r')?.0.parse().unwrap();
            (seen.len() >= content + length).then_some(content + length)
        }
        None => find(b"\r\n0\r\n\r\n").map(|at| at + 7),
    }
}

/// Reads until a response is complete and removes it from `seen`; false if the server has closed.
pub(super) fn read_response(stream: &mut UnixStream, seen: &mut Vec<u8>) -> bool {
    loop {
        if let Some(end) = end_of_response(seen) {
            seen.drain(..end);
            return true;
        }
        if !read_some(stream, seen) {
            return false;
        }
    }
}

/// Waits for some bytes; false if the server has closed.
pub(super) fn read_some(stream: &mut UnixStream, seen: &mut Vec<u8>) -> bool {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let before = kernel::changes();
        match stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => {
                seen.extend_from_slice(&buffer[..count]);
                // The server's socket has room.
                kernel::changed();
                return true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => kernel::wait(before),
            Err(_) => return false,
        }
    }
}
