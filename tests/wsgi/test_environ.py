"""PEP 3333 "environ Variables": the environ of an application, which belongs to one request.

https://peps.python.org/pep-3333/#environ-variables; CGI names are RFC 3875 section 4.1.
"""

from __future__ import annotations

import socket

import pytest

from harness import TIMEOUT, Client, ServerProcess, build_request, has_ipv6
from harness.bridge import is_bridged
from harness.wsgi import THREADS, ask, get_json, json_of


@pytest.fixture
def server(serve) -> ServerProcess:
    return serve("wsgi_environ:dump", *THREADS)


@pytest.fixture
def mutating(serve) -> ServerProcess:
    return serve("wsgi_environ:mutate", *THREADS)


def strings(server: ServerProcess, raw: bytes) -> dict[str, str]:
    """The environ's strings for one request written by hand."""
    with server.connect() as client:
        return json_of(client.request(raw))["strings"]


def get(target: str, *fields: str) -> bytes:
    """A GET with exactly these field lines besides Host."""
    lines = [f"GET {target} HTTP/1.1", "Host: h.test:81", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


# ---------------------------------------------------------------------------------- SCRIPT_NAME


@pytest.mark.parametrize("given", ["variable", "option"])
def test_script_name_is_taken_off_the_path(serve, given: str) -> None:
    """As gunicorn does, also for heads from the cache."""
    env = {"SCRIPT_NAME": "/foo" if given == "variable" else "/other"}
    options = [] if given == "variable" else ["-e", "SCRIPT_NAME=/foo/"]
    server = serve("wsgi_environ:dump", *THREADS, *options, env=env)
    for _ in range(4):
        for target, path in [
            ("/foo/x", "/x"),
            ("/foo", ""),
            ("/foo/", "/"),
            ("/foo/a%2Fb?c=/foo", "/a/b"),
            ("http://h.test/foo/y", "/y"),
        ]:
            seen = strings(server, get(target))
            assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/foo", path), target
            # HTTP/2 has the authority in a field of its own.
            assert seen["RAW_URI"] == (
                target.removeprefix("http://h.test") if is_bridged() else target
            )


def test_path_outside_script_name_is_a_500(fresh_server) -> None:
    server = fresh_server("wsgi_environ:dump", env={"SCRIPT_NAME": "/foo"})
    for target in ("/x", "/foobar", "/") * 3:
        assert server.get(target).status == 500
    server.wait_for_log('the path "/foobar" is not below SCRIPT_NAME, which is "/foo"')
    assert server.get("/foo/x").status == 200


# ------------------------------------------------------------------------------ types and flags

REQUIRED_STRINGS = [
    "REQUEST_METHOD",
    "SCRIPT_NAME",
    "PATH_INFO",
    "QUERY_STRING",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "wsgi.url_scheme",
]


def test_environ_is_exactly_a_dict(server):
    """PEP 3333: "a dictionary object [...] must be a builtin Python dictionary"."""
    seen = get_json(server, "/")
    assert seen["exact_dict"], seen["type"]
    assert seen["bad_keys"] == []


@pytest.mark.parametrize("name", REQUIRED_STRINGS)
def test_required_variable_is_a_native_string(server, name):
    assert get_json(server, "/")["types"].get(name) == "str"


def test_cgi_variables_are_strings(server):
    """PEP 3333: all CGI-defined variables must be native strings, if present at all."""
    seen = json_of(server.get("/?q", method="POST", body=b"x", fields=[("Content-Type", "a/b")]))
    not_strings = {k: t for k, t in seen["types"].items() if "." not in k and t != "str"}
    assert not_strings == {}


def test_wsgi_version(server):
    assert get_json(server, "/")["version"] == "(1, 0)"


@pytest.mark.parametrize("threads, multithread", [("1", False), ("4", True)])
def test_multithread_flag_is_true_with_threads(serve, threads, multithread):
    server = serve("wsgi_environ:dump", "--threads", threads)
    assert get_json(server, "/")["flags"] == {
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def test_url_scheme_is_http(server):
    assert get_json(server, "/")["strings"]["wsgi.url_scheme"] == "http"


def test_input_is_terminated(server):
    """`wsgi.input_terminated`: reading to the end is safe without a CONTENT_LENGTH."""
    assert get_json(server, "/")["input_terminated"]


@pytest.mark.parametrize("name", ["wsgi.file_wrapper", "rustwsgi.client_disconnected"])
def test_file_wrapper_and_start_response_are_callable(server, name):
    assert name in get_json(server, "/")["callable"]


def test_streams_have_the_methods_of_the_pep(server):
    """PEP 3333 "Input and Error Streams"."""
    seen = get_json(server, "/")
    assert seen["errors_methods"] == ["flush", "write", "writelines"]
    assert seen["input_methods"] == ["__iter__", "read", "readline", "readlines"]


# ------------------------------------------------------------------------------- request line


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "get", "X-Y"]
)
def test_request_method_as_sent(server, method):
    """Methods are case-sensitive tokens (RFC 9110 section 9.1)."""
    with server.connect() as client:
        response = ask(client, "/", method=method)
        assert response.status == 200
        if method != "HEAD":
            assert json_of(response)["strings"]["REQUEST_METHOD"] == method


PATHS = {
    "plain": ("/a/b", "/a/b"),
    "root": ("/", "/"),
    "trailing-slash": ("/a/", "/a/"),
    "double-slash-kept": ("/a//b", "/a//b"),
    "leading-double-slash-kept": ("//h/b", "//h/b"),
    "dots-not-resolved": ("/a/../b/./c", "/a/../b/./c"),
    "percent-decoded": ("/a%20b", "/a b"),
    "percent-case": ("/%c3%A9", "/\xc3\xa9"),
    "percent-once": ("/a%2520b", "/a%20b"),
    "percent-slash": ("/a%2Fb", "/a/b"),
    "percent-percent": ("/a%25", "/a%"),
    "percent-high-byte": ("/%ff", "/\xff"),
    "percent-crlf": ("/a%0d%0ab", "/a\r\nb"),
    "percent-question": ("/a%3Fb", "/a?b"),
    "percent-hash": ("/a%23b", "/a#b"),
    "plus-kept": ("/a+b", "/a+b"),
    "semicolon-kept": ("/a;b=1", "/a;b=1"),
    "latin-1-of-utf-8": ("/%E2%82%AC", "/\xe2\x82\xac"),
}


@pytest.mark.parametrize("target, path", PATHS.values(), ids=PATHS)
def test_path_info_is_decoded_once(server, target, path):
    """Percent-decoded once, bytes as latin-1 (PEP 3333 "Unicode Issues")."""
    seen = strings(server, get(target))
    assert seen["PATH_INFO"] == path
    assert seen["SCRIPT_NAME"] == ""


@pytest.mark.parametrize("target", ["/%00", "/a%00b", "/a%00"])
def test_nul_in_path_is_rejected(server, target):
    assert server.get(target).status == 400


QUERIES = {
    "absent": ("/p", ""),
    "empty": ("/p?", ""),
    "plain": ("/p?a=1&b=2", "a=1&b=2"),
    "raw-percent": ("/p?a=%20%2F%00%zz", "a=%20%2F%00%zz"),
    "raw-plus": ("/p?a+b", "a+b"),
    "second-question-mark": ("/p?a?b", "a?b"),
    "slash": ("/p?/x//y", "/x//y"),
}


@pytest.mark.parametrize("target, query", QUERIES.values(), ids=QUERIES)
def test_query_string_is_raw_and_always_there(server, target, query):
    seen = strings(server, get(target))
    assert seen["QUERY_STRING"] == query
    assert seen["PATH_INFO"] == "/p"


@pytest.mark.parametrize("name", ["RAW_URI", "REQUEST_URI"])
@pytest.mark.parametrize("target", ["/a%2Fb%20c?d=%20", "/", "//a/../b?"])
def test_raw_uri_is_the_target_as_sent(server, name, target):
    """Extra variables with which an application distinguishes %2F from a slash."""
    assert strings(server, get(target))[name] == target


def test_absolute_form_names_the_host(server):
    """RFC 9112 section 3.2.2: the target's host replaces the Host field."""
    seen = strings(server, get("http://other.test:8080/a%20b?q=1"))
    assert seen["HTTP_HOST"] == "other.test:8080"
    assert (seen["PATH_INFO"], seen["QUERY_STRING"]) == ("/a b", "q=1")


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_server_protocol_is_the_served_version(server, version):
    response = server.get("/", version=version)
    assert json_of(response)["strings"]["SERVER_PROTOCOL"] == version


# --------------------------------------------------------------------------------- addresses


def test_tcp_addresses_are_in_the_environ(server):
    with server.connect() as client:
        seen = json_of(ask(client, "/"))["strings"]
        assert seen["REMOTE_ADDR"] == "127.0.0.1"
        assert seen["REMOTE_PORT"] == str(client.port)
    assert seen["SERVER_PORT"] == str(server.port)
    assert seen["SERVER_NAME"]


def test_clients_with_equal_heads_see_their_own_addresses(fresh_server):
    """A thread caches environs by their heads, which do not differ between these clients."""
    server = fresh_server("wsgi_environ:dump", "--threads", "1")
    server_address = (server.host, server.port)
    clients = [
        Client(socket.create_connection(server_address, TIMEOUT, source_address=(address, 0)))
        for address in ("127.0.0.1", "127.0.0.2", "127.0.0.2", "127.0.0.3")
    ]
    try:
        for client in clients * 5:
            seen = json_of(client.request(build_request("GET", "/")))["strings"]
            address, port = client.sock.getsockname()
            assert (seen["REMOTE_ADDR"], seen["REMOTE_PORT"]) == (address, str(port))
    finally:
        for client in clients:
            client.close()


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 loopback here")
def test_ipv6_addresses_are_in_the_environ(fresh_server):
    """SERVER_NAME is in brackets: without them the recipe of PEP 3333 builds an invalid URL."""
    server = fresh_server("wsgi_environ:dump", bind="[::1]:0")
    with server.connect() as client:
        seen = json_of(ask(client, "/"))["strings"]
        assert seen["REMOTE_PORT"] == str(client.port)
    assert seen["REMOTE_ADDR"] == "::1"
    assert seen["SERVER_PORT"] == str(server.port)
    assert seen["SERVER_NAME"] == "[::1]"


def test_unix_socket_addresses_are_in_the_environ(fresh_server, tmp_path):
    """There are no addresses, but the variables must exist and be strings (never None)."""
    server = fresh_server("wsgi_environ:dump", bind=f"unix:{tmp_path}/s")
    seen = get_json(server, "/")
    for name in ("SERVER_NAME", "SERVER_PORT"):
        assert seen["types"].get(name) == "str" and seen["strings"][name], seen
    for name in ("REMOTE_ADDR", "REMOTE_PORT"):
        assert seen["types"].get(name, "str") == "str", seen


# ------------------------------------------------------------------------------------- fields

FIELDS = {
    "value": (["X-A: 1"], {"HTTP_X_A": "1"}),
    "name-case": (["x-a: 1"], {"HTTP_X_A": "1"}),
    "empty-value": (["X-A:"], {"HTTP_X_A": ""}),
    "blanks-trimmed": (["X-A: \t 1 \t "], {"HTTP_X_A": "1"}),
    "inner-blanks-kept": (["X-A: 1 \t 2"], {"HTTP_X_A": "1 \t 2"}),
    "only-sp-and-htab-trimmed": (["X-A: \xa01\x85"], {"HTTP_X_A": "\xa01\x85"}),
    "latin-1-byte": (["X-A: caf\xe9"], {"HTTP_X_A": "caf\xe9"}),
    "latin-1-of-utf-8": (["X-A: \xe2\x82\xac"], {"HTTP_X_A": "\xe2\x82\xac"}),
    "repeated": (["X-A: 1", "X-A: 2"], {"HTTP_X_A": "1,2"}),
    "repeated-case": (["X-A: 1", "x-a: 2", "X-a: 3"], {"HTTP_X_A": "1,2,3"}),
    "repeated-apart": (["X-A: 1", "X-B: b", "X-A: 2"], {"HTTP_X_A": "1,2", "HTTP_X_B": "b"}),
    "repeated-high-byte": (["X-A: 1", "X-A: \xe9"], {"HTTP_X_A": "1,\xe9"}),
    "repeated-empty": (["X-A:", "X-A: 2"], {"HTTP_X_A": ",2"}),
    "repeated-known-name": (["Accept: a/b", "Accept: c/d"], {"HTTP_ACCEPT": "a/b,c/d"}),
    "forwarded-for-joined": (
        ["X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 2.2.2.2"],
        {"HTTP_X_FORWARDED_FOR": "1.1.1.1,2.2.2.2"},
    ),
    "cookie-joined": (["Cookie: a=1", "Cookie: b=2"], {"HTTP_COOKIE": "a=1; b=2"}),
    "cookie-case": (["cookie: a=1", "COOKIE: b=2"], {"HTTP_COOKIE": "a=1; b=2"}),
    "host": ([], {"HTTP_HOST": "h.test:81"}),
    "digits-and-marks-in-name": (["X-1!#$: v"], {"HTTP_X_1!#$": "v"}),
    "content-type": (["Content-Type: a/b; c=d"], {"CONTENT_TYPE": "a/b; c=d"}),
    "content-length-zero": (["Content-Length: 0"], {"CONTENT_LENGTH": "0"}),
    "looks-like-cgi": (["Request-Method: EVIL"], {"HTTP_REQUEST_METHOD": "EVIL"}),
    "looks-like-wsgi": (["wsgi.url.scheme: ftp"], {"wsgi.url_scheme": "http"}),
}


@pytest.mark.parametrize("lines, expected", FIELDS.values(), ids=FIELDS)
def test_fields_become_http_variables(server, lines, expected):
    seen = strings(server, get("/", *lines))
    assert {k: seen.get(k) for k in expected} == expected


def test_repeated_fields_are_joined_in_linear_time(fresh_server):
    """To join each to the ones before it took 30 s of processor time for these."""
    server = fresh_server(
        "wsgi_environ:dump",
        *("--limit-request-fields", "32768"),
        *("--limit-request-head", "4m"),
    )
    value = "x" * 100
    lines = [f"X-A: {value}", f"Cookie: {value}"] * 16000
    before = server.cpu_seconds()
    seen = strings(server, get("/", *lines))
    took = server.cpu_seconds() - before
    assert seen["HTTP_X_A"] == ",".join([value] * 16000)
    assert seen["HTTP_COOKIE"] == "; ".join([value] * 16000)
    assert took < 5, took


ABSENT = {
    "content-type-not-sent": ([], "CONTENT_TYPE"),
    "content-length-not-sent": ([], "CONTENT_LENGTH"),
    "content-type-without-http": (["Content-Type: a/b"], "HTTP_CONTENT_TYPE"),
    "content-length-without-http": (["Content-Length: 0"], "HTTP_CONTENT_LENGTH"),
    "httpoxy": (["Proxy: http://evil"], "HTTP_PROXY"),
    "underscore-dropped": (["X_A: 1"], "HTTP_X_A"),
    "underscore-content-length": (["Content_Length: 5"], "HTTP_CONTENT_LENGTH"),
    "underscore-content-type": (["Content_Type: a/b"], "CONTENT_TYPE"),
}


@pytest.mark.parametrize("lines, name", ABSENT.values(), ids=ABSENT)
def test_absent_fields_have_no_variables(server, lines, name):
    assert name not in strings(server, get("/", *lines))


def test_underscore_name_does_not_join_its_twin(server):
    """`X_Forwarded_For` must not pose as a repetition of `X-Forwarded-For`."""
    lines = ["X-Forwarded-For: 1.1.1.1", "X_Forwarded_For: 6.6.6.6", "X-Forwarded_For: 7.7.7.7"]
    assert strings(server, get("/", *lines))["HTTP_X_FORWARDED_FOR"] == "1.1.1.1"


@pytest.mark.parametrize("second", ["Content-Type: c/d", "content-type: a/b"])
def test_content_type_twice_is_rejected(server, second):
    with server.connect() as client:
        assert client.request(get("/", "Content-Type: a/b", second)).status == 400


def test_every_string_is_latin_1(server):
    """PEP 3333 "Unicode Issues": no code point above 255 anywhere."""
    raw = get("/%f0%9f%92%a9?q=%f0", "X-A: \xf0\x9f\x92\xa9", "Cookie: \xff=\xfe")
    with server.connect() as client:
        seen = json_of(client.request(raw))
    assert seen["wide"] == []
    assert seen["strings"]["PATH_INFO"].encode("latin-1").decode("utf-8") == "/\U0001f4a9"


# ------------------------------------------------------------------- nothing of the process's own

CGI = {
    *REQUIRED_STRINGS,
    "SERVER_SOFTWARE",
    "RAW_URI",
    "REQUEST_URI",
    "CONTENT_TYPE",
    "CONTENT_LENGTH",
    "GATEWAY_INTERFACE",
    "REMOTE_HOST",
}


def test_nothing_of_os_environ(fresh_server, monkeypatch):
    """granian merges os.environ, so that HTTP_* of the shell looks like a request's field."""
    for name in ("HTTP_X_FROM_SHELL", "HTTP_PROXY", "REMOTE_USER", "AUTH_TYPE", "PATH_TRANSLATED"):
        monkeypatch.setenv(name, "leaked")
    monkeypatch.setenv("HTTPS", "on")
    server = fresh_server("wsgi_environ:dump")
    seen = get_json(server, "/", fields=[("X-A", "1")])
    names = {n for n in seen["types"] if not n.startswith(("wsgi.", "rustwsgi."))}
    assert names - CGI == {"HTTP_HOST", "HTTP_X_A"}
    assert seen["strings"]["wsgi.url_scheme"] == "http"
    assert "leaked" not in seen["strings"].values()


# --------------------------------------------------------------------- each request has its own


@pytest.mark.parametrize("query", ["?x", "?clear"], ids=["changed", "cleared"])
@pytest.mark.parametrize("pipelined", [False, True], ids=["one-by-one", "pipelined"])
def test_mutated_environ_does_not_reach_the_next_request(mutating, query, pipelined):
    """PEP 3333: the application may modify the dictionary in any way it desires.

    The heads are identical, so a server that reuses what it parsed or built is caught as well.
    """
    raw = get("/a" + query, "X-A: 1", "Content-Type: a/b")
    with mutating.connect() as client:
        if pipelined:
            client.send(raw * 5)
            seen = [json_of(client.response()) for _ in range(5)]
        else:
            seen = [json_of(client.request(raw)) for _ in range(5)]
    assert seen[0]["strings"]["HTTP_X_A"] == "1"
    assert all(s == seen[0] for s in seen[1:])


SEQUENCE = [
    ("/a?1", ["X-A: 1"], {"HTTP_X_A": "1"}),
    ("/a?1", ["X-A: 2"], {"HTTP_X_A": "2"}),
    ("/b?2", [], {"HTTP_X_A": None, "CONTENT_TYPE": None}),
    ("/b?3", ["Content-Type: a/b", "X-B: 1"], {"CONTENT_TYPE": "a/b", "HTTP_X_B": "1"}),
    ("/b?3", ["Content-Type: c/d", "X-A: 1"], {"CONTENT_TYPE": "c/d", "HTTP_X_B": None}),
    ("/c", ["X-A: 1", "X-A: 2"], {"HTTP_X_A": "1,2", "CONTENT_TYPE": None}),
    ("/c", ["X-A: 1"], {"HTTP_X_A": "1"}),
    ("/c", ["x-a: 3", "Cookie: a=1"], {"HTTP_X_A": "3", "HTTP_COOKIE": "a=1"}),
    ("/c", ["Cookie: b=1"], {"HTTP_X_A": None, "HTTP_COOKIE": "b=1"}),
]


@pytest.mark.parametrize("pipelined", [False, True], ids=["one-by-one", "pipelined"])
def test_values_change_between_requests_of_a_connection(mutating, pipelined):
    """Interned names and cached values must not carry one request's field into another."""
    raws = [get(target, *lines) for target, lines, _ in SEQUENCE]
    with mutating.connect() as client:
        if pipelined:
            client.send(b"".join(raws))
            seen = [json_of(client.response())["strings"] for _ in raws]
        else:
            seen = [json_of(client.request(raw))["strings"] for raw in raws]
    for (target, _, expected), found in zip(SEQUENCE, seen, strict=True):
        assert found["RAW_URI"] == target
        assert {k: found.get(k) for k in expected} == expected


def test_kept_environs_stay_as_they_were(serve):
    """An application may keep its environ: the next request must not write into it."""
    server = serve("wsgi_environ:keep", *THREADS)
    expected = []
    with server.connect() as client:
        for i in range(5):
            target = f"/{i}" + ("?first" if i == 0 else "")
            body = b"x" * i if i % 2 else None
            raw = build_request("POST", target, fields=[("X-A", str(i))], body=body)
            seen = json_of(client.request(raw))
            length = str(i) if body else None
            expected.append({"PATH_INFO": f"/{i}", "HTTP_X_A": str(i), "CONTENT_LENGTH": length})
            assert seen["kept"] == expected and seen["distinct"]
