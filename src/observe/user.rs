//! The user name of `%(u)s`, taken from Basic authorization [RFC 7617 section 2] as gunicorn does.
//!
//! The name is what the client claims: the server does not check the password.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Base64 [RFC 4648 section 4] without its padding. Padding bits carry nothing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// The user name in the value of an `Authorization` field, if it is Basic and well-formed.
pub(super) fn from_authorization(value: &[u8]) -> Option<Vec<u8>> {
    let space = memchr::memchr(b' ', value)?;
    let (scheme, credentials) = value.split_at(space);
    if !scheme.eq_ignore_ascii_case(b"Basic") {
        return None;
    }
    // Clients leave padding out, or add some that is not needed.
    let unpadded = match credentials.trim_ascii() {
        [unpadded @ .., b'=', b'='] | [unpadded @ .., b'='] | unpadded => unpadded,
    };
    let mut user = BASE64.decode(unpadded).ok()?;
    let colon = memchr::memchr(b':', &user)?;
    user.truncate(colon);
    (!user.is_empty()).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(value: &str) -> Option<String> {
        from_authorization(value.as_bytes()).map(|user| String::from_utf8(user).unwrap())
    }

    #[test]
    fn rfc_example_gives_the_user_name() {
        let aladdin = Some("Aladdin".to_owned());
        assert_eq!(user("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), aladdin);
        assert_eq!(user("basic   QWxhZGRpbjpvcGVuIHNlc2FtZQ"), aladdin);
    }

    #[test]
    fn padding_missing_superfluous_or_with_bits_set_is_accepted() {
        for value in ["YTpi", "YTpi=", "YTpi==", "YTo=", "YTo", "YTp=", "YTpiYw=="] {
            assert_eq!(user(&format!("Basic {value}")), Some("a".to_owned()), "{value}");
        }
    }

    #[test]
    fn name_ends_at_the_first_colon() {
        assert_eq!(user("Basic YTpiOmM="), Some("a".to_owned()));
    }

    #[test]
    fn other_scheme_or_malformed_credentials_give_no_name() {
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
