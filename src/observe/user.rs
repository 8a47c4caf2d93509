//! The user name of `%(u)s`, taken from Basic authorization [RFC 7617 section 2] as gunicorn does.
//!
//! It is what the client claims: the server checks no password, so the log only says who the request
//! said it was.

/// The user name in the value of an `Authorization` field, if it is Basic and well-formed.
pub(super) fn from_authorization(value: &[u8]) -> Option<Vec<u8>> {
    let space = memchr::memchr(b' ', value)?;
    let (scheme, credentials) = value.split_at(space);
    if !scheme.eq_ignore_ascii_case(b"Basic") {
        return None;
    }
    let mut user = decode(credentials.trim_ascii())?;
    let colon = memchr::memchr(b':', &user)?;
    user.truncate(colon);
    (!user.is_empty()).then_some(user)
}

/// Base64 [RFC 4648 section 4]; padding may be missing, as it carries nothing.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let unpadded = match text {
        [rest @ .., b'=', b'='] | [rest @ .., b'='] => rest,
        whole => whole,
    };
    let mut bytes = Vec::with_capacity(unpadded.len() * 3 / 4);
    let mut bits = 0u32;
    let mut count = 0;
    for &digit in unpadded {
        bits = bits << 6 | sextet(digit)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xFF) as u8);
        }
    }
    // One digit alone in its group holds six bits, which is no byte.
    (count < 6).then_some(bytes)
}

fn sextet(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(value: &str) -> Option<String> {
        from_authorization(value.as_bytes()).map(|user| String::from_utf8(user).unwrap())
    }

    #[test]
    fn reads_the_rfc_example() {
        let aladdin = Some("Aladdin".to_owned());
        assert_eq!(user("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), aladdin);
        assert_eq!(user("basic   QWxhZGRpbjpvcGVuIHNlc2FtZQ"), aladdin);
    }

    #[test]
    fn all_digits_decode() {
        assert_eq!(decode(b"+/Az09+/").unwrap(), b"\xFB\xF0\x33\xD3\xDF\xBF");
        assert_eq!(decode(b"YQ==").unwrap(), b"a");
        assert_eq!(decode(b"YWI=").unwrap(), b"ab");
        assert_eq!(decode(b"").unwrap(), b"");
    }

    #[test]
    fn the_first_colon_ends_the_name() {
        assert_eq!(user("Basic YTpiOmM="), Some("a".to_owned()));
    }

    #[test]
    fn anything_else_is_nobody() {
        for value in [
            "",
            "Basic",
            "Basic ",
            "Bearer YTpi",
            "Basic YTp*",
            "Basic Y",
            "Basic YWI=", // no colon
            "Basic OmI=", // no name before it
        ] {
            assert_eq!(user(value), None, "{value}");
        }
    }
}
