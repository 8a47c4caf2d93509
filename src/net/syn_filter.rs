//! A packet filter for listening sockets, which keeps the kernel from completing more handshakes.

use std::io;

use socket2::Socket;

/// Attaches a packet filter that drops a SYN without an ACK. Accepted sockets inherit it, where it
/// never matches.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn drop_syns(listener: &Socket) -> io::Result<()> {
    use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET};
    use socket2::SockFilter;
    const FLAGS: u32 = 13; // the byte of the TCP header [RFC 9293 section 3.1]
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    let code = |parts: u32| u16::try_from(parts).unwrap_or_default();
    listener.attach_filter(&[
        SockFilter::new(code(BPF_LD | BPF_B | BPF_ABS), 0, 0, FLAGS),
        SockFilter::new(code(BPF_ALU | BPF_AND | BPF_K), 0, 0, SYN | ACK),
        SockFilter::new(code(BPF_JMP | BPF_JEQ | BPF_K), 0, 1, SYN),
        SockFilter::new(code(BPF_RET | BPF_K), 0, 0, 0),
        SockFilter::new(code(BPF_RET | BPF_K), 0, 0, u32::MAX),
    ])
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn drop_syns(_: &Socket) -> io::Result<()> {
    Ok(())
}
