//! Metrics and health checks.

use super::*;

#[test]
fn metrics_and_health_checks_are_off_by_default() {
    let defaults = Observability { control_socket_mode: 0o600, ..Observability::default() };
    assert_eq!(ok(&[]).observability, defaults);
    assert!(!defaults.is_enabled());
    let settings = ok(&["--metrics", ":9100", "--ready-busy", "2.5", "--health-path", "/healthz"]);
    assert_eq!(settings.observability.metrics, Some(Bind::Tcp("0.0.0.0".into(), 9100)));
    assert_eq!(settings.observability.ready_busy, Duration::from_millis(2500));
    assert_eq!(settings.observability.health_path.as_deref(), Some("/healthz"));
}

#[test]
fn metrics_address_is_not_one_of_the_application() {
    let message = bad(&["--bind", ":8000", "--metrics", ":8000"]);
    assert!(message.contains("--metrics: 0.0.0.0:8000 is an address of the application"));
    // The kernel chooses two different ports.
    ok(&["--bind", ":0", "--metrics", ":0"]);
    assert!(bad(&["--metrics", "a:b:c"]).contains("--metrics"));
}

#[test]
fn health_path_is_a_path_of_requests() {
    for path in ["healthz", "", "/a?b", "/a#b", "/a b", "/ä"] {
        assert!(bad(&["--health-path", path]).contains("such as /healthz"), "{path}");
    }
}

#[test]
fn control_socket_has_a_path_and_a_mode() {
    for path in ["/run/s", "unix:/run/s", "unix:///run/s"] {
        let settings = ok(&["--control-socket", path, "--control-socket-mode", "0o660"]);
        let Observability { control_socket, control_socket_mode, .. } = settings.observability;
        assert_eq!((control_socket, control_socket_mode), (Some("/run/s".into()), 0o660));
    }
    for mode in ["8", "1000", "rw", "+7", ""] {
        assert!(bad(&["--control-socket-mode", mode]).contains("such as 660"), "{mode}");
    }
    assert!(bad(&["--control-socket", ""]).contains("path of a socket"));
}

#[test]
fn requests_are_not_traced_by_default() {
    let traced = ok(&["--request-id-header", "X-Request-ID", "--server-timing"]).observability;
    assert_eq!(traced.request_id_header.as_deref(), Some("X-Request-ID"));
    assert!(traced.server_timing);
    let slow = ok(&["--slow-request", "0.5"]).observability.slow_request;
    assert_eq!(slow, Duration::from_millis(500));
}

#[test]
fn request_id_header_is_a_field_without_another_meaning() {
    for name in ["", "X_Request_ID", "X Id", "X-Id:", "X-\u{e4}", &"x".repeat(65)] {
        let message = bad(&["--request-id-header", name]);
        assert!(message.contains("such as X-Request-ID"), "{name}: {message}");
    }
    let read = ["host", "TE", "Range", "if-none-match", "X-Forwarded-For", "HTTP2-Settings"];
    let written = ["Content-Length", "set-cookie", "Transfer-Encoding", "Connection", "Date"];
    // It was accepted, and then each response had the field twice.
    let of_options = ["Server-Timing", "server", "ETag", "Retry-After", "X-Content-Type-Options"];
    for name in read.into_iter().chain(written).chain(of_options) {
        let message = bad(&["--request-id-header", name]);
        assert!(message.contains("another meaning; use one such as X-Request-ID"), "{message}");
    }
}
