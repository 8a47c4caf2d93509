"""Tests of what HTTP/2 does not have, or does otherwise. With RUSTWSGI_TEST_HTTP2=1 (tests/run http2) they
are left out, by these names. All others run: see `bridge`."""

from __future__ import annotations

import re

_LINES = "HTTP/2 has no lines"
_CHUNKED = "HTTP/2 has no transfer codings"
_OLD = "HTTP/2 has no HTTP/1.0"
_VERSION = "the version is HTTP/2"
_CASE = "names of fields are in lower case; http2/test_responses.py tests them"
_CONNECTION = "HTTP/2 has no Connection"
_AUTHORITY = "the host is :authority, and Host may repeat it"
_LINE_LENGTH = "the request line has two bytes less; http2/test_requests.py tests the limits"
_TRAILERS = "trailers are dropped, and the library bounds them"
_TRUST = "without TLS only trusted peers get HTTP/2"

#: Why a file has such tests only.
FILES = {
    "test_chunked.py": _CHUNKED,
    "test_streamed_input.py": "http2/test_streamed_input.py has what HTTP/2 does",
    "test_differential.py": "the inputs are bytes of HTTP/1.1; http2/test_differential.py has others",
}
#: Why a test is left out, by a regular expression for its name. If that has no `[`, all cases are.
TESTS = {
    r"test_.*\[(.*-)?HTTP/1\.0(-.*)?\]": _OLD,
    r"test_.*http_?1_?0.*": _OLD,
    # http/test_request_line.py
    "test_line_that_does_not_end_in_crlf_is_rejected": _LINES,
    "test_malformed_request_line_is_rejected": _LINES,
    "test_malformed_version_is_rejected": _LINES,
    "test_other_major_version_is_rejected": _VERSION,
    "test_http2_preface_is_rejected": _VERSION,
    "test_http09_simple_request_is_rejected": _VERSION,
    "test_higher_minor_is_served_as_http11": _VERSION,
    "test_proxy_protocol_header_is_named_in_the_log": _LINES,
    "test_one_leading_crlf_is_skipped": _LINES,
    "test_crlf_after_a_body_is_skipped": _LINES,
    # http/test_target.py
    "test_https_target_without_tls_is_rejected": ":scheme is not used",
    "test_missing_host_above_http11_is_rejected": _VERSION,
    "test_malformed_host_beside_an_absolute_target_is_rejected": _AUTHORITY,
    r"test_missing_or_repeated_host_is_rejected\[(.*-absolute-.*|.*-twice-the-same)\]": _AUTHORITY,
    r"test_valid_host_is_accepted\[.*%41\]": "the library accepts no `%` in :authority",
    # http/test_fields.py
    r"test_malformed_field_is_rejected\[.*(-no-colon|-fold|for-colon|request-line).*\]": _LINES,
    r"test_field_name_that_is_no_token_is_rejected\[.*-first-.*-20\]": _LINES,
    "test_white_space_after_the_request_line_is_rejected": _LINES,
    # http/test_framing.py
    r"test_malformed_content_length_of_any_request_line_is_rejected\[.*HTTP/1\.0.*\]": _OLD,
    r"test_content_length_delimits_the_content\[.*0{22}5\]": "the library reads 19 digits at most",
    "test_content_length_beside_chunked_is_rejected": _CHUNKED,
    "test_content_length_beside_another_coding_is_rejected": _CHUNKED,
    "test_transfer_encoding_other_than_chunked_is_rejected": _CHUNKED,
    "test_repeated_transfer_encoding_is_rejected": _CHUNKED,
    # http/test_limits.py
    "test_request_line_too_long": _LINE_LENGTH,
    "test_request_line": _LINE_LENGTH,
    "test_head": _LINE_LENGTH,
    r"test_the_log_names_the_.*\[.*-(line|no-request)\]": _LINE_LENGTH,
    r"test_the_log_names_the_.*\[.*-trailer.*\]": _TRAILERS,
    "test_trailers": _TRAILERS,
    "test_request_line_without_end": _LINES,
    "test_field_without_end": _LINES,
    "test_fields_without_end": _LINES,
    "test_chunk_extension": _CHUNKED,
    r"test_chunked_body_too_large\[.*size-line\]": _CHUNKED,
    # http/test_past_bugs.py
    "test_smuggling_attempt_is_rejected": "the ends of contents are flags of frames",
    # http/test_responses.py
    r"test_date_and_server_of_the_application_are_kept\[.*-(date|SERVER)\]": _CASE,
    "test_fields_keep_order_case_and_repetition": _CASE,
    "test_stream_without_length_is_chunked": _OLD,
    "test_connection_close_of_the_application_is_honoured": _CONNECTION,
    # http/test_streaming.py
    "test_stream_with_length_arrives_block_by_block": _OLD,
    "test_writability_reported_during_a_send_is_not_lost": "flow control stops the server first",
    # http/test_forwarded.py, http/test_forwarded_headers.py
    "test_host_without_a_host_field_is_set": _OLD,
    "test_logs_name_the_client_of_each_request": _LINES,
    "test_forwarded_proto_from_others_is_ignored": _TRUST,
    "test_fields_of_others_are_dropped": _TRUST,
    "test_header_map_refuse_concerns_other_fields": _TRUST,
    # wsgi
    "test_kept_client_disconnected_answers_for_its_own_client": "a stream ends with its request",
    "test_repeated_fields_are_joined_in_linear_time": "over --http2-max-header-list-size",
    "test_broken_upload_never_calls_the_application": _CHUNKED,
    "test_pipelined_requests_never_overlap": "streams run at the same time",
    r"test_head_is_sent_as_given\[.*-(order|name-case|own-server|links)\]": _CASE,
    "test_server_protocol_is_the_served_version": _VERSION,
    "test_connection_close_is_honoured": _CONNECTION,
    r"test_each_block_is_sent_before_the_next_is_asked_for\[.*close\]": _OLD,
    "test_file_that_shrinks_while_it_is_sent_aborts": "http2/test_files.py has it",
    "test_file_closed_by_another_thread_is_safe": _CONNECTION,
    # static
    "test_hundreds_of_pipelined_files_are_answered": "over --http2-max-concurrent-streams",
    "test_connection_is_kept_or_closed_as_the_client_asks": _CONNECTION,
    "test_access_log_has_the_line_of_a_file": _VERSION,
    "test_access_log_has_the_size_of_the_file": _VERSION,
}


def reason_to_leave_out(name: str, file: str) -> str | None:
    """Why this case of a test has no meaning over HTTP/2; None if it has one."""
    if file in FILES:
        return FILES[file]
    for pattern, reason in TESTS.items():
        if re.fullmatch(pattern if "[" in pattern else rf"{pattern}(\[.*\])?", name, re.DOTALL):
            return reason
    return None
