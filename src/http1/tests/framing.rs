//! The framing of requests: Content-Length and Transfer-Encoding. [RFC 9112 section 6]

use super::*;

fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")
}

#[test]
fn content_length_delimits_the_body() {
    for (value, body, framing) in [
        ("0", "", Framing::Empty),
        ("00", "", Framing::Empty),
        ("5", "hello", Framing::Length(5)),
        ("005", "hello", Framing::Length(5)),
        (" 5\t", "hello", Framing::Length(5)),
        ("4", "\r\n\r\n", Framing::Length(4)),
    ] {
        for name in ["Content-Length", "content-length", "CONTENT-LENGTH"] {
            let (head, content) = accepted(post(&format!("{name}:{value}\r\n"), body));
            assert_eq!(content, body.as_bytes());
            assert_eq!(head.framing, framing);
        }
    }
}

#[test]
fn request_without_framing_fields_has_no_content() {
    for method in ["GET", "POST", "PUT", "X"] {
        let (head, content) = accepted(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((head.framing, content), (Framing::Empty, vec![]));
    }
}

#[test]
fn content_is_read_for_any_method() {
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "X"] {
        let input = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(accepted(input).1, b"hi");
    }
}

#[test]
fn body_that_looks_like_a_request_stays_a_body() {
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let (_, content) = accepted(post(&format!("Content-Length: {}\r\n", hidden.len()), hidden));
    assert_eq!(content, hidden.as_bytes());
}

#[test]
fn truncated_body_is_unfinished() {
    for sent in 0..5 {
        let parsed = read(post("Content-Length: 5\r\n", &"hello"[..sent]));
        assert_eq!(parsed.outcome, Outcome::Unfinished);
        assert_eq!(parsed.content, &b"hello"[..sent]);
    }
}

#[test]
fn malformed_content_lengths_are_rejected() {
    for value in [
        "",
        " ",
        "+5",
        "-5",
        "5 5",
        "5,5",
        "5, 6",
        "5,",
        ",5",
        "0x5",
        "5_0",
        "5.0",
        "5e1",
        "five",
        "\"5\"",
        "5;x",
        "18446744073709551616",
        "99999999999999999999999",
        "\u{665}",
        "5\u{a0}",
    ] {
        assert_rejected(
            post(&format!("Content-Length: {value}\r\n"), "hello"),
            Error::ContentLength,
        );
    }
    // Repeated, with a different value or the same. [waitress CVE-2022-24761]
    for second in ["6", "5", ""] {
        assert_rejected(
            post(&format!("Content-Length: 5\r\nX: y\r\ncontent-length: {second}\r\n"), "hello"),
            Error::ContentLength,
        );
    }
}

#[test]
fn transfer_encoding_other_than_chunked_is_rejected() {
    for value in ["chunked", "Chunked", "CHUNKED", " chunked\t"] {
        let (head, content) =
            accepted(post(&format!("Transfer-Encoding:{value}\r\n"), "2\r\nhi\r\n0\r\n\r\n"));
        assert_eq!((head.framing, &content[..]), (Framing::Chunked, &b"hi"[..]));
    }
    use Error::{TransferEncoding, UnknownTransferCoding};
    for (value, error) in [
        ("gzip, chunked", UnknownTransferCoding),
        ("gzip,deflate ,\tCHUNKED", UnknownTransferCoding),
        ("identity, chunked", UnknownTransferCoding),
        ("gzip", TransferEncoding),
        ("identity", TransferEncoding),
        ("chunked, gzip", TransferEncoding),
        ("chunked, identity", TransferEncoding),
        ("chunked, chunked", TransferEncoding),
        ("gzip, chunked, chunked", TransferEncoding),
        (",chunked", TransferEncoding),
        ("chunked,", TransferEncoding),
        ("gzip,,chunked", TransferEncoding),
        ("chunked;x", TransferEncoding),
        ("chunked;x=y", TransferEncoding),
        ("\"chunked\"", TransferEncoding),
        ("'chunked'", TransferEncoding),
        ("chunked\u{a0}", TransferEncoding),
        ("xchunked", TransferEncoding),
        ("chunke", TransferEncoding),
        ("chun ked", TransferEncoding),
        ("", TransferEncoding),
    ] {
        assert_rejected(post(&format!("Transfer-Encoding: {value}\r\n"), "0\r\n\r\n"), error);
    }
    assert_rejected(post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), Error::Field);
    assert_rejected(post("Transfer-Encoding: chunked\x0c\r\n", "0\r\n\r\n"), Error::Field);
    assert_rejected(post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), Error::Field);
    for second in ["chunked", "gzip", "gzip, chunked", "identity", ""] {
        let fields = format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: {second}\r\n");
        assert_rejected(post(&fields, "0\r\n\r\n"), TransferEncoding);
    }
    let fields = "Transfer-Encoding: gzip, chunked\r\nTransfer-Encoding: chunked\r\n";
    assert_rejected(post(fields, "0\r\n\r\n"), UnknownTransferCoding);
}

#[test]
fn content_length_with_transfer_encoding_is_rejected() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
    ] {
        assert_rejected(post(fields, "0\r\n\r\n"), Error::ConflictingFraming);
    }
}

#[test]
fn http_1_0_with_transfer_encoding_is_rejected() {
    for fields in [
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n",
    ] {
        assert_rejected(
            format!("POST / HTTP/1.0\r\n{fields}\r\n0\r\n\r\n"),
            Error::TransferEncoding,
        );
    }
    let (head, content) = accepted("POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!((head.version, &content[..]), (Version::Http10, &b"hi"[..]));
}

/// Notations that some parsers accept as a number.
#[test]
fn content_length_in_another_notation_is_rejected() {
    let values: &[&[u8]] = &[
        b"-0",
        b"+0",
        b"5\t5",
        b"0 5",
        b"0X5",
        b"0b1",
        b"0o5",
        b"5h",
        b"1_0",
        b"_5",
        b"5_",
        b"1,000",
        b"5,6",
        b"5, 5",
        b",",
        b"5;",
        b".5",
        b"5.",
        b"5e0",
        b"1e1",
        b"'5'",
        b"(5)",
        b"a",
        b"0xg",
        b"NaN",
        b"inf",
        b"true",
        b"None",
        b"%35",
        b"5%",
        b"5=",
        b"=5",
        b"5\x005",
        b"\x0b5",
        b"5\x0b",
        b"\x0c5",
        b"5\x0c",
        b"5\0",
        b"\x005",
        b"5\x1f",
        b"5\x7f",
        b"\xa05",
        b"5\xa0",
        b"\x855",
        b"5\x85",
        b"\xb2",
        b"\xb5",
        b"\xd9\xa5",
        b"\xef\xbc\x95",
    ];
    for value in values {
        let fields = [b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ", *value].concat();
        assert_status([&fields[..], b"\r\n\r\nhello"].concat(), &[400]);
    }
}

/// Spellings that some parsers accept as `chunked`.
#[test]
fn transfer_coding_in_another_spelling_is_rejected() {
    let values: &[&[u8]] = &[
        b"deflate",
        b"compress",
        b"x-gzip",
        b"br",
        b"trailers",
        b"cow",
        b"*",
        b"chunked,chunked",
        b", chunked",
        b"chunked, ,",
        b"chunked chunked",
        b"chunked;",
        b"chunked;q=1",
        b"chunked ; a=b",
        b"chunked:",
        b"(chunked)",
        b"<chunked>",
        b"chunked()",
        b"chunked\\",
        b"chunkedx",
        b"chunk",
        b"hunked",
        b"ch unked",
        b"chun\tked",
        b"-chunked",
        b",",
        b",,",
        b"chunked\r\n chunked",
        b"\r\n chunked",
        b"\x0bchunked",
        b"chunked\x0b",
        b"\x0cchunked",
        b"chunked\x0c",
        b"chunked\0",
        b"\0chunked",
        b"\xa0chunked",
        b"chunked\xa0",
        b"\x85chunked",
        b"chunked\x85",
        b"chun\xefed",
        b"\xffchunked",
        b"chunKed\xe2\x84\xaa",
        b"chun\xe2\x84\xaaed",
    ];
    for value in values {
        let fields = [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ", *value].concat();
        assert_status([&fields[..], b"\r\n\r\n0\r\n\r\n"].concat(), &[400, 501]);
    }
}
