"""Generated requests: well-formed and malformed parts, combined at random.

The caller seeds the `random.Random`, so the same seed gives the same bytes on every machine.
`request` joins a head and content, most of them legal; `mutated` also changes bytes, using those on
which parsers disagree.
"""

from __future__ import annotations

import random

METHODS = [b"GET", b"GET", b"POST", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"M-SEARCH"]
ODD_METHODS = [b"get", b"X!#$%'*", b"G(T", b"G\xc9T", b"CONNECT"]
TARGETS = [
    b"/",
    b"/a/b?c=d",
    b"/%41%2f%zz",
    b"/?",
    b"//double",
    b"/a;b=c,d:@e",
    b"http://other/path?q",
    b"http://other",
]
BAD_TARGETS = [
    b"*",
    b"",
    b"a",
    b"/#f",
    b"/\x80",
    b"/a\x00b",
    b"http://",
    b"other:80",
    b"/a b",
    b"?q",
]
VERSIONS = [b"HTTP/1.1"] * 9 + [b"HTTP/1.0"] * 3 + [b"HTTP/1.2"]
BAD_VERSIONS = [b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.", b"HTTP/01.1", b"HTTP/1.10", b""]

HOSTS = [b"a", b"a:80", b"[::1]:8000", b"a_b", b"xn--a.example."]
BAD_HOSTS = [b"", b"a b", b"u@a", b"a,b", b"a:b", b"[::1", b"a/b", b"\xe4"]

FIELDS = [
    b"Accept: */*",
    b"Accept: text/html, */*;q=0.1",
    b"X-Empty:",
    b"X-Blank: \t ",
    b"X-Trim:\t v \t",
    b"X-Latin: \xe4\xf6",
    b"X-Under_score: spoof",
    b"Proxy: http://evil",
    b"Cookie: a=1",
    b"Cookie: b=2",
    b"X-Two: 1",
    b"X-Two: 2",
    b"Content-Type: text/plain",
    b"Content-Type: text/html",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: x, Close",
    b"Connection: keep-alive, close",
    b"Connection: upgrade",
    b"Upgrade: h2c",
    b"Expect: 100-continue",
    b"Expect: 200-ok",
    b'X-Quoted: "a, b"',
    b"TE: trailers",
]
BAD_FIELDS = [
    b"X Space: v",
    b"X-Colon : v",
    b": v",
    b"no colon",
    b"X-Nul: a\x00b",
    b"X-Cr: a\rb",
    b"X-Lf: a\nb",
    b"X-Del: a\x7fb",
    b"X-Fold: a\r\n b",
    b"X-Vt: \x0bv",
    b"X-\xe4: v",
    b" Leading: v",
    b"X-(: v",
]

#: What follows `Content-Length:`, for 5 bytes of content.
LENGTHS = [b"5", b" 5", b"5 ", b"\t5", b"05"]
BAD_LENGTHS = [
    b"+5",
    b"-5",
    b"5, 5",
    b"5,6",
    b"0x5",
    b"5_0",
    b"",
    b"5 5",
    b"\x0b5",
    b"18446744073709551621",
    b"5.0",
    b"\xb2",
    b"5;",
]
BAD_CODINGS = [
    b"Chunked ,",
    b",chunked",
    b"chunked, chunked",
    b"gzip, chunked",
    b"chunked, gzip",
    b"identity",
    b"chunked;q=1",
    b"\x0bchunked",
    b"chunked\x0c",
    b'"chunked"',
    b"xchunked",
    b"",
    b"chun\x00ked",
]
#: Contents in the chunked coding that all mean `hello`.
CHUNKED = [
    b"5\r\nhello\r\n0\r\n\r\n",
    b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    b"05\r\nhello\r\n000\r\n\r\n",
    b"5;a=b\r\nhello\r\n0;c\r\n\r\n",
    b'5;a="b;\\"\r"\r\nhello\r\n0\r\n\r\n'.replace(b'\r"', b'"'),
    b"5 ; a = b\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX-Trailer: t\r\n\r\n",
    b"5\r\nhello\r\n0\r\nContent-Length: 9\r\nHost: x\r\n\r\n",
]
BAD_CHUNKED = [
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n",
    b"-5\r\nhello\r\n0\r\n\r\n",
    b"5_\r\nhello\r\n0\r\n\r\n",
    b" 5\r\nhello\r\n0\r\n\r\n",
    b"5 \r\nhello\r\n0\r\n\r\n",
    b"\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhelloXX0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"5;\nx\r\nhello\r\n0\r\n\r\n",
    b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    b'5;a="b\r\nhello\r\n0\r\n\r\n',
    b"5;a=\x00\r\nhello\r\n0\r\n\r\n",
    b"5;\r\nhello\r\n0\r\n\r\n",
    b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX : t\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX: t\n\r\n",
    b"5\r\nhello\r\n0\r\n fold\r\n\r\n",
    b"5\r\nhello\r\n0\n\n",
    b"g\r\nhello\r\n0\r\n\r\n",
]

#: Bytes that have made parsers disagree.
PROVOKING = [
    *[b"\r", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\r\n", b" ", b"  ", b"\t", b"\x00", b"\x0b"],
    *[b"\x0c", b"\x1c", b"\x7f", b"\x80", b"\x85", b"\xa0", b"\xad", b"\xff", b":", b";", b","],
    *[b"=", b'"', b"\\", b"%", b"#", b"?", b"/", b"*", b"@", b"_", b"+", b"-", b"0", b"5", b"a"],
]


def request(random: random.Random, wrong: float = 0.07, more: tuple[bytes, ...] = ()) -> bytes:
    """A head with its content; each part is malformed with the probability `wrong`. `more` are
    additional fields."""

    def one(good: list[bytes], bad: list[bytes]) -> bytes:
        return random.choice(bad if random.random() < wrong else good)

    version = one(VERSIONS, BAD_VERSIONS)
    line = b" ".join([one(METHODS, ODD_METHODS), one(TARGETS, BAD_TARGETS), version])
    fields = [b"Host: " + one(HOSTS, BAD_HOSTS)]
    if random.random() < wrong / 2:
        fields *= random.choice([0, 2])
    fields += more
    fields += random.sample(FIELDS, random.choice([0, 0, 1, 2, 4]))
    if random.random() < wrong:
        fields.append(random.choice(BAD_FIELDS))
    content = b""
    framing = random.choice(["none", "length", "chunked"])
    if framing == "length" or random.random() < wrong / 4:
        fields.append(b"Content-Length:" + one(LENGTHS, BAD_LENGTHS))
        content = b"hello"
        if random.random() < wrong / 2:
            fields.append(random.choice([b"Content-Length: 5", b"Content-Length: 0"]))
    if framing == "chunked" or random.random() < wrong / 4:
        coding = one([b"chunked", b"Chunked", b"\tCHUNKED "], BAD_CODINGS)
        fields.append(b"Transfer-Encoding: " + coding)
        content = one(CHUNKED, BAD_CHUNKED)
    random.shuffle(fields)
    head = b"".join(part + b"\r\n" for part in [line, *fields, b""])
    return random.choice([b""] * 20 + [b"\r\n", b"\r\n\r\n"]) + head + content


def mutated(random: random.Random, data: bytes) -> bytes:
    """`data` with one or two changes: of a byte, of a line, or cut off."""
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        at = random.randrange(len(data) + 1)
        lines = data.split(b"\r\n")
        line = random.randrange(len(lines))
        match random.randrange(8):
            case 0 | 1:
                data = data[:at] + random.choice(PROVOKING) + data[at:]
            case 2:
                data = data[:at] + random.choice(PROVOKING) + data[at + 1 :]
            case 3:
                data = data[:at] + data[at + 1 :]
            case 4:
                data = data[:at] + data[at:].swapcase()
            case 5:
                data = b"\r\n".join([*lines[:line], lines[line], *lines[line:]])
            case 6:
                data = b"\r\n".join([*lines[:line], *lines[line + 1 :]])
            case 7:
                data = data[:at] if random.random() < 0.3 else data.replace(b"\r\n", b"\n", 1)
    return data


def requests(seed: object, count: int) -> list[bytes]:
    """`count` inputs, a third of them mutated, some of them pipelines."""
    source = random.Random(f"requests {seed}")
    found = []
    for _ in range(count):
        data = b"".join(request(source) for _ in range(source.choice([1, 1, 1, 2, 3])))
        found.append(mutated(source, data) if source.random() < 0.4 else data)
    return found
