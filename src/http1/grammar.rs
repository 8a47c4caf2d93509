//! The character classes and small productions of RFC 9110 section 5.6 and RFC 3986, which the
//! other files share.

/// `tchar` of RFC 9110 section 5.6.2, as a table: one load for each byte.
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};

/// True for a byte of a token. [RFC 9110 section 5.6.2]
pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// True for a non-empty token. [RFC 9110 section 5.6.2]
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && consists_of(&TOKEN, bytes)
}

/// True if `table` is true for each byte. Without an exit from the loop, it takes half as long for
/// the bytes that are valid.
fn consists_of(table: &[bool; 256], bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |valid, &byte| valid & table[usize::from(byte)])
}

/// The bytes of a field value, as a table.
static FIELD_VALUE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte == 0x09 || (byte >= 0x20 && byte != 0x7f);
        byte += 1;
    }
    table
};

/// True if a field value may contain these bytes: HTAB, SP, visible ASCII and obs-text.
/// [RFC 9110 section 5.5]
pub(crate) fn is_field_value(bytes: &[u8]) -> bool {
    consists_of(&FIELD_VALUE, bytes)
}

/// Strips optional whitespace, which is SP and HTAB. Other trimming functions also strip \x0b,
/// \x0c, \x85 or \xa0, which has caused several request smuggling bugs. [RFC 9110 section 5.6.3]
pub(crate) fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The elements of a comma-separated list, trimmed, without empty ones. [RFC 9110 section 5.6.1.2]
pub(crate) fn list_elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim_ows).filter(|e| !e.is_empty())
}

/// Parses a decimal number: digits only, no sign, no blank. `None` also if it overflows.
/// [RFC 9110 section 8.6]
pub(crate) fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0u64, |value, &b| {
        if !b.is_ascii_digit() {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(b - b'0'))
    })
}

/// True for `uri-host [ ":" port ]`, the value of Host and the authority of an absolute target.
/// User information and an empty host are not allowed. [RFC 9110 section 7.2, RFC 3986 section
/// 3.2.2]
pub(crate) fn is_host(bytes: &[u8]) -> bool {
    let (host, port) = match bytes {
        [b'[', rest @ ..] => match memchr::memchr(b']', rest) {
            Some(end) => {
                if !is_ip_literal(&rest[..end]) {
                    return false;
                }
                match &rest[end + 1..] {
                    [] => return true,
                    [b':', port @ ..] => (None, port),
                    _ => return false,
                }
            }
            None => return false,
        },
        _ => match memchr::memchr(b':', bytes) {
            Some(colon) => (Some(&bytes[..colon]), &bytes[colon + 1..]),
            None => (Some(bytes), &b""[..]),
        },
    };
    host.is_none_or(is_reg_name) && is_port(port)
}

/// An empty port stands for the default of the scheme. [RFC 3986 section 3.2.3]
fn is_port(port: &[u8]) -> bool {
    port.is_empty() || (port.len() <= 5 && decimal(port).is_some_and(|p| p <= 65535))
}

fn is_reg_name(name: &[u8]) -> bool {
    if name.is_empty() {
        return false;
    }
    let mut bytes = name.iter();
    while let Some(&b) = bytes.next() {
        let ok = match b {
            b'%' => {
                bytes.next().is_some_and(u8::is_ascii_hexdigit)
                    && bytes.next().is_some_and(u8::is_ascii_hexdigit)
            }
            _ => {
                b.is_ascii_alphanumeric()
                    || matches!(b, b'-' | b'.' | b'_' | b'~')
                    || matches!(b, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+')
                    || matches!(b, b',' | b';' | b'=')
            }
        };
        if !ok {
            return false;
        }
    }
    true
}

/// True for what may stand between brackets: an IPv6 address, or an IPvFuture literal.
fn is_ip_literal(inner: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(inner) else { return false };
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return true;
    }
    let Some(rest) = text.strip_prefix(['v', 'V']) else { return false };
    let Some((version, address)) = rest.split_once('.') else { return false };
    !version.is_empty()
        && version.bytes().all(|b| b.is_ascii_hexdigit())
        && !address.is_empty()
        && address.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_host_takes_a_host_and_an_optional_port() {
        for good in ["a", "a:80", "a:", "1.2.3.4:8000", "[::1]", "[::1]:80", "x%41y", "a_b.example"]
        {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a:b", "a:65536", "a:000080", "a b", "a/b", "u@a", "[::1", "[::1]x", "[zz]",
            "a:80:80", "a?b", "x%4", "a,b/",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn decimal_without_overflow_is_parsed() {
        assert_eq!(decimal(b"0018446744073709551615"), Some(u64::MAX));
        for bad in ["", "+1", "-1", " 1", "1 ", "1_0", "0x1", "18446744073709551616"] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn trim_ows_strips_only_sp_and_htab() {
        assert_eq!(trim_ows(b" \ta\t "), b"a");
        assert_eq!(trim_ows(b"\x0ba\x0c"), b"\x0ba\x0c");
        assert_eq!(trim_ows(b"\x85a\xa0"), b"\x85a\xa0");
    }
}
