//! Which fields of trusted proxies are applied: `--forwarded-headers`, and what happens to the
//! fields of other peers: `--forwarded-untrusted`.

use std::str::FromStr;

/// One of the fields that `--forwarded-headers` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    For,
    Proto,
    Host,
    Port,
    Prefix,
    /// `Forwarded`, instead of the others. [RFC 7239]
    Forwarded,
}

const NAMES: [(Field, &str); 6] = [
    (Field::For, "for"),
    (Field::Proto, "proto"),
    (Field::Host, "host"),
    (Field::Port, "port"),
    (Field::Prefix, "prefix"),
    (Field::Forwarded, "forwarded"),
];

/// A set of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ForwardedFields(u8);

impl ForwardedFields {
    /// Only `X-Forwarded-Proto` and its equivalents, as gunicorn applies them.
    pub const DEFAULT: ForwardedFields = ForwardedFields(1 << Field::Proto as u8);

    fn has(self, field: Field) -> bool {
        self.0 & (1 << field as u8) != 0
    }

    /// Whether `X-Forwarded-For` is applied.
    pub fn has_for(self) -> bool {
        self.has(Field::For)
    }

    /// Whether `X-Forwarded-Proto` is applied.
    pub fn has_proto(self) -> bool {
        self.has(Field::Proto)
    }

    /// Whether `X-Forwarded-Host` is applied.
    pub fn has_host(self) -> bool {
        self.has(Field::Host)
    }

    /// Whether `X-Forwarded-Port` is applied.
    pub fn has_port(self) -> bool {
        self.has(Field::Port)
    }

    /// Whether `X-Forwarded-Prefix` is applied.
    pub fn has_prefix(self) -> bool {
        self.has(Field::Prefix)
    }

    /// Whether `Forwarded` is applied.
    pub fn has_forwarded(self) -> bool {
        self.has(Field::Forwarded)
    }

    /// Both sets together.
    ///
    /// # Errors
    /// A sentence if that is `forwarded` and another field.
    pub fn union(self, other: ForwardedFields) -> Result<ForwardedFields, String> {
        let union = ForwardedFields(self.0 | other.0);
        if union.has_forwarded() && union.0.count_ones() > 1 {
            return Err(
                "'forwarded' replaces the X-Forwarded fields: name it alone, or only some \
                        of for, proto, host, port, prefix"
                    .to_owned(),
            );
        }
        Ok(union)
    }

    /// The names of the fields.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().filter(move |(field, _)| self.has(*field)).map(|(_, name)| name)
    }
}

impl FromStr for ForwardedFields {
    type Err = String;

    /// Parses one name, or nothing.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    fn from_str(text: &str) -> Result<ForwardedFields, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(ForwardedFields::default());
        }
        let found = NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
        let (field, _) = found.ok_or_else(|| {
            format!("'{text}' is not one of for, proto, host, port, prefix, forwarded")
        })?;
        Ok(ForwardedFields(1 << *field as u8))
    }
}

/// What happens to forwarded fields of peers that are not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Untrusted {
    /// The application gets them as any other field.
    #[default]
    Keep,
    /// The application does not get them.
    Strip,
}

/// True for the fields that [`Untrusted::Strip`] concerns: `Forwarded`, and all whose name begins
/// with `X-Forwarded-`. An application may read any of them.
pub fn is_forwarded_field(name: &[u8]) -> bool {
    const FAMILY: &[u8] = b"x-forwarded-";
    match name.len() {
        9 => name.eq_ignore_ascii_case(b"forwarded"),
        length if length > FAMILY.len() => name[..FAMILY.len()].eq_ignore_ascii_case(FAMILY),
        _ => false,
    }
}
