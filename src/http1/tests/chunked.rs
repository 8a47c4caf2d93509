//! The grammar of chunks, extensions and trailers. [RFC 9112 section 7.1]

use super::*;

fn post(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

const VALID: &[(&str, &str)] = &[
    ("0\r\n\r\n", ""),
    ("5\r\nhello\r\n0\r\n\r\n", "hello"),
    ("1\r\nh\r\n4\r\nello\r\n0\r\n\r\n", "hello"),
    ("a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
    ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
    ("000b\r\n0123456789x\r\n000\r\n\r\n", "0123456789x"),
    ("0000000000000002\r\nhi\r\n0000000000000000\r\n\r\n", "hi"),
    ("7\r\n0\r\n\r\nGE\r\n0\r\n\r\n", "0\r\n\r\nGE"),
    // Extensions
    ("2;a\r\nhi\r\n0\r\n\r\n", "hi"),
    ("2;a=b\r\nhi\r\n0;c\r\n\r\n", "hi"),
    ("2;a=b;c;d=e\r\nhi\r\n0\r\n\r\n", "hi"),
    ("2 ;a\r\nhi\r\n0\r\n\r\n", "hi"),
    ("2\t ; a \t=\t b ; c ;d\r\nhi\r\n0\r\n\r\n", "hi"),
    ("2;a=\"\"\r\nhi\r\n0\r\n\r\n", "hi"),
    ("2;a=\"b c\t;=,/\u{e9}\"\r\nhi\r\n0\r\n\r\n", "hi"),
    ("2;a=\"b\\\"c\\\\\" ;d\r\nhi\r\n0\r\n\r\n", "hi"),
    ("2;a=\"b\";c\r\nhi\r\n0\r\n\r\n", "hi"),
    // Trailers
    ("2\r\nhi\r\n0\r\nX: y\r\n\r\n", "hi"),
    ("0\r\nX: y\r\nZ:\r\nx:\tz \r\n\r\n", ""),
    ("0;a\r\nHost: other\r\nContent-Length: 7\r\nTransfer-Encoding: gzip\r\n\r\n", ""),
    ("0\r\nX_Y: z\r\n\r\n", ""),
];

#[test]
fn valid_chunks_are_decoded() {
    for (body, content) in VALID {
        assert_eq!(accepted(post(body)).1, content.as_bytes(), "{body:?}");
    }
}

#[test]
fn chunked_body_cut_at_any_byte_is_unfinished() {
    for (body, content) in VALID {
        for at in (0..body.len()).filter(|&at| body.is_char_boundary(at)) {
            let parsed = read(post(&body[..at]));
            assert_eq!(parsed.outcome, Outcome::Unfinished, "{:?}", &body[..at]);
            assert!(content.as_bytes().starts_with(&parsed.content));
        }
    }
}

#[test]
fn trailer_fields_are_dropped() {
    let input = post("0\r\nHost: other\r\nX: y\r\nCookie: z\r\n\r\n");
    let connection = connection_after(&input);
    let names: Vec<_> = connection.head().fields().map(|(name, _)| text(name)).collect();
    assert_eq!(names, ["Host", "Transfer-Encoding"]);
    assert_eq!(connection.head().field(b"host"), Some(&b"a"[..]));
}

#[test]
fn malformed_chunks_are_rejected() {
    for body in [
        // Sizes
        "\r\n",
        "\n",
        "x\r\n",
        "g\r\n",
        " 2\r\nhi\r\n",
        "\t2\r\nhi\r\n",
        "+2\r\nhi\r\n",
        "-2\r\nhi\r\n",
        "0x2\r\nhi\r\n",
        "2_0\r\n",
        "2h\r\nhi\r\n",
        "2.0\r\nhi\r\n",
        ";a\r\n",
        "00000000000000002\r\nhi\r\n",
        "10000000000000000\r\n",
        "fffffffffffffffff\r\n",
        "\u{ff12}\r\nhi\r\n",
        // Line ends
        "2\nhi\r\n",
        "2\rhi\r\n",
        "2\r\rhi\r\n",
        "2 \r\nhi\r\n",
        "2\t\r\nhi\r\n",
        "2\0\r\nhi\r\n",
        "2\r\nhi\n",
        "2\r\nhi\r0",
        "2\r\nhi0\r\n\r\n",
        "2\r\nhix\r\n",
        "2\r\nhi\r\r\n",
        "2\r\nhi\n\r",
        "2\r\nhi\r\n\r\n",
        // After a valid chunk
        "2\r\nhi\r\n\n0\r\n\r\n",
        "2\r\nhi\r\n x",
        // Extensions
        "2;\r\nhi",
        "2; \r\nhi",
        "2;;a\r\nhi",
        "2;a;\r\nhi",
        "2 a\r\nhi",
        "2;a b\r\nhi",
        "2;=b\r\nhi",
        "2;a=\r\nhi",
        "2;a=b c\r\nhi",
        "2;a==b\r\nhi",
        "2;a=b=c\r\nhi",
        "2,a\r\nhi",
        "2;a/b\r\nhi",
        "2;a=/\r\nhi",
        "2;a \r\nhi",
        "2;a=b \r\nhi",
        "2;a\n",
        "2;a=b\n",
        "2;a\rb",
        "2;a\0\r\nhi",
        "2;\u{e9}\r\nhi",
        "2;\"a\"\r\nhi",
        "2;a=b\"c\"\r\nhi",
        "2;a=\"b\r\n",
        "2;a=\"b\n",
        "2;a=\"b\\\r\n",
        "2;a=\"b\\\n",
        "2;a=\"b\0\"\r\nhi",
        "2;a=\"b\x7f\"\r\nhi",
        "2;a=\"b\"c\r\nhi",
        "2;a=\"b\" c\r\nhi",
        "2;a=\"b\" \r\nhi",
        "2;a='b c'\r\nhi",
        "2;a=b =c\r\nhi",
        "2;a=\"b\" =c\r\nhi",
        "2;a=\"b\"\n",
    ] {
        assert_rejected(post(body), Error::Chunk);
    }
}

#[test]
fn malformed_trailers_are_rejected() {
    for trailers in [
        "\n",
        "X: y\n\r\n",
        "X: y\r\n\n",
        "\nX: y\r\n\r\n",
        "X\r\n\r\n",
        ": y\r\n\r\n",
        "X : y\r\n\r\n",
        " X: y\r\n\r\n",
        "X: y\r\n z\r\n\r\n",
        "X: y\0\r\n\r\n",
        "X: y\rz\r\n\r\n",
        "\rX: y\r\n\r\n",
        "\r\r\n\r\n",
        "X: y\r\r\n\r\n",
        "X\u{e9}: y\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ] {
        assert_rejected(post(&format!("0\r\n{trailers}")), Error::Trailer);
        assert_rejected(post(&format!("2\r\nhi\r\n0\r\n{trailers}")), Error::Trailer);
    }
}

#[test]
fn body_with_malformed_chunk_after_content_is_rejected() {
    // If the application got the truncated body as a complete one, it would act on it.
    let parsed = read(post("2\r\nhi\r\nx"));
    assert_eq!(parsed.outcome, Outcome::Rejected(Error::Chunk));
    assert_eq!(parsed.content, b"hi");
}

#[test]
fn chunk_size_followed_by_any_other_byte_is_rejected() {
    for byte in 0..=u8::MAX {
        let mut input = post("1").into_bytes();
        input.push(byte);
        let expected = match byte {
            b'\r' | b' ' | b'\t' | b';' => Outcome::Unfinished,
            _ if byte.is_ascii_hexdigit() => Outcome::Unfinished,
            _ => Outcome::Rejected(Error::Chunk),
        };
        assert_eq!(read(&input).outcome, expected, "{byte:#x}");
    }
}

/// Notations that some parsers accept as a size, also as that of the last chunk.
#[test]
fn chunk_size_in_another_notation_is_rejected() {
    let values: &[&[u8]] = &[
        b"",
        b" ",
        b"\t",
        b"\r",
        b";",
        b";x",
        b" ;x",
        b"g",
        b"5g",
        b"G5",
        b"x5",
        b"hello",
        b"\xb5",
        b"+5",
        b"-5",
        b"-0",
        b"0x5",
        b"0X5",
        b"\\x5",
        b"5h",
        b"5_0",
        b"_5",
        b"5_",
        b"5.",
        b"5.0",
        b"5,",
        b" 5",
        b"\t5",
        b"5 ",
        b"5\t",
        b"5  ",
        b"5 5",
        b"5 x",
        b"5\x0b",
        b"\x0b5",
        b"5\0",
        b"\x005",
        b"5\xa0",
        b"\x855",
        b"5\r",
        b"5\n",
        b"\"5\"",
        b"5:",
        b"5=",
        b"5&x",
        b"\xef\xbc\x95",
        b"5\x7f",
        b"00000000000000005",
        b"+0",
        b"-0",
        b"0x0",
        b"0 ",
        b" 0",
        b"00000000000000000",
        b"0\0",
    ];
    for value in values {
        for before in ["", "2\r\nhi\r\n"] {
            let chunk = [post(before).as_bytes(), value, b"\r\nhello\r\n0\r\n\r\n"].concat();
            assert_status(chunk, &[400]);
        }
    }
}

/// Also on the last chunk, which has the same grammar.
#[test]
fn chunk_extension_with_broken_grammar_is_rejected() {
    let values: &[&[u8]] = &[
        b";",
        b";;",
        b";;x",
        b";x;",
        b";x;;y",
        b";=",
        b";=y",
        b";x=",
        b";x=;y",
        b"; ",
        b";x=y=z",
        b";x y",
        b";x=y z",
        b",x",
        b" x",
        b";x,y",
        b";x:y",
        b";x=y\0",
        b";\0",
        b";x=\x01",
        b";\xe9",
        b";x=\xe9",
        b";x=\x80",
        b";x\x0b=y",
        b";(x)",
        b";x=(y)",
        b";/",
        b";x=a/b",
        b";x=y\x7f",
        b";x=\"",
        b";x=\"y",
        b";x=\"y\\\"",
        b";x=\"y\"z",
        b";x=\"y\" z",
        b";x=\"a\"b\"",
        b";\"x\"=y",
        b";\"x\"",
        b";x=\"\0\"",
        b";x=\"\x01\"",
        b";x=\"\n\"",
        b";x=\"\r\"",
        b";x=\"\\\x01\"",
        b";x=\"\\\n\"",
        b";x=\"\x7f\"",
        b";x=y\n",
        b";x\n",
        b";x=y\r",
        b";\n",
        b";x=\n\ny",
        b";x\r;y",
        b";x=y\t",
        b";x ",
    ];
    for value in values {
        for size in ["5", "0"] {
            let chunk = [post(size).as_bytes(), value, b"\r\nhello\r\n0\r\n\r\n"].concat();
            assert_status(chunk, &[400]);
        }
    }
}
