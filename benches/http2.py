"""The handshake of HTTP/2, and the check of responses over it, by curl.

A connection starts with prior knowledge (RFC 9113 section 3.3) or, over TLS, with ALPN.
"""

from __future__ import annotations

import socket
import ssl
import subprocess

import probe
from workloads import Workload

#: Empty SETTINGS: length 0, type 4, no flags, stream 0.
_SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
#: The client's part of the handshake.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS
#: `GET /` of 127.0.0.1: entries 2 (GET), 6 (http) and 4 (/) of HPACK's static table, and
#: `:authority` as a literal.
_FIELDS = b"\x82\x86\x84\x01\x09127.0.0.1"
#: HEADERS with END_HEADERS and END_STREAM on stream 1.
GET = len(_FIELDS).to_bytes(3, "big") + b"\x01\x05\x00\x00\x00\x01" + _FIELDS

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TLS.check_hostname = False
TLS.verify_mode = ssl.CERT_NONE
TLS.set_alpn_protocols(["h2"])


def connect(port: int, *, tls: bool, timeout: float, source: str = "") -> socket.socket:
    """Open a connection; the preface is not sent yet.

    Raises:
        OSError: It is refused, or the server does not choose HTTP/2.
    """
    address = (source, 0) if source else None
    connection = socket.create_connection(("127.0.0.1", port), timeout, source_address=address)
    if not tls:
        return connection
    wrapped = TLS.wrap_socket(connection)
    if wrapped.selected_alpn_protocol() != "h2":
        wrapped.close()
        raise ConnectionError("the server does not choose HTTP/2")
    return wrapped


def check(port: int, workload: Workload) -> None:
    """Raise `ProbeError` unless a request gets the expected response over HTTP/2."""
    scheme, protocol = ("https", "--http2") if workload.tls else ("http", "--http2-prior-knowledge")
    # The version and status follow the body.
    command = ["curl", "--silent", "--show-error", "--insecure", "--max-time", "5", protocol]
    command += ["--write-out", "%{stderr}%{http_version} %{http_code}"]
    command += [f"{scheme}://127.0.0.1:{port}{workload.path}"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise probe.ProbeError(f"curl failed: {error}") from None
    if done.stderr != b"2 200":
        raise probe.ProbeError(f"HTTP/2 fails: {done.stderr.decode(errors='replace').strip()}")
    if done.stdout != workload.expected_body:
        raise probe.ProbeError(f"wrong body: {len(done.stdout)} bytes, {done.stdout[:24]!r}...")
