//! Chooses among a file and its precompressed variants by Accept-Encoding. [RFC 9110 section
//! 12.5.3]

/// The coding of a precompressed variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Brotli,
    Zstandard,
    Gzip,
}

impl Coding {
    /// All codings, the preferred one first: the smaller result.
    pub(super) const ALL: [Coding; 3] = [Coding::Brotli, Coding::Zstandard, Coding::Gzip];

    /// The name in Content-Encoding.
    pub(super) fn token(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Zstandard => "zstd",
            Coding::Gzip => "gzip",
        }
    }

    /// The extension of the variant's file.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Coding::Brotli => ".br",
            Coding::Zstandard => ".zst",
            Coding::Gzip => ".gz",
        }
    }
}

/// The weights of an Accept-Encoding field, in thousandths. `None` is not mentioned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    codings: [Option<u16>; 3],
    identity: Option<u16>,
    /// `*`: the weight of all that are not mentioned.
    others: Option<u16>,
}

impl Accepted {
    /// Adds the elements of one field line.
    pub(super) fn add(&mut self, value: &[u8]) {
        for element in value.split(|&b| b == b',') {
            let mut parts = element.split(|&b| b == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            // A weight that cannot be read must not select a coding that the client cannot decode.
            let weight = parts.next().map_or(Some(1000), weight).unwrap_or(0);
            let is = |token: &str| name.eq_ignore_ascii_case(token.as_bytes());
            let place = match Coding::ALL.iter().position(|coding| is(coding.token())) {
                Some(index) => &mut self.codings[index],
                None if is("x-gzip") => &mut self.codings[Coding::Gzip as usize],
                None if is("identity") => &mut self.identity,
                None if is("*") => &mut self.others,
                None => continue,
            };
            *place = Some(weight);
        }
    }

    /// The variant to send; `None` is the file itself. It is sent as well if the client accepts
    /// none of them: an answer that it may not want is of more use than an error. `exists` says
    /// which variants there are, in the order of [`Coding::ALL`].
    pub(super) fn choose(&self, exists: [bool; 3]) -> Option<Coding> {
        let weight = |coding: Coding| self.codings[coding as usize].or(self.others).unwrap_or(0);
        let identity = self.identity.or(self.others).unwrap_or(0);
        let candidates = Coding::ALL.into_iter().filter(|&coding| exists[coding as usize]);
        let best = candidates.rev().max_by_key(|&coding| weight(coding))?;
        (weight(best) > 0 && weight(best) >= identity).then_some(best)
    }
}

/// Parses `q=0.5` to thousandths. [RFC 9110 section 12.4.2]
fn weight(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', value @ ..] = parameter else { return None };
    let (whole, fraction) = match value {
        [whole @ (b'0' | b'1')] => (whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    let mut thousandths = u16::from(whole - b'0') * 1000;
    for (digit, unit) in fraction.iter().zip([100, 10, 1]) {
        if !digit.is_ascii_digit() {
            return None;
        }
        thousandths += u16::from(digit - b'0') * unit;
    }
    (thousandths <= 1000).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variant_with_the_highest_weight_is_chosen() {
        const ALL: [bool; 3] = [true; 3];
        const NONE: [bool; 3] = [false; 3];
        const GZIP: [bool; 3] = [false, false, true];
        for (fields, exists, expected) in [
            (&[][..], ALL, ""),
            (&[""], ALL, ""),
            (&["gzip, deflate, br, zstd"], ALL, "br"),
            (&["gzip, deflate, br, zstd"], GZIP, "gzip"),
            (&["gzip, deflate, br, zstd"], NONE, ""),
            (&["zstd, gzip"], ALL, "zstd"),
            (&["GZip"], ALL, "gzip"),
            (&["x-gzip"], ALL, "gzip"),
            (&["gzip;q=1.0, br;q=0.5"], ALL, "gzip"),
            (&["gzip;q=0.5,br;q=0.501"], ALL, "br"),
            (&["gzip ; q=0.5 , br ; Q=0.4"], ALL, "gzip"),
            (&["gzip;q=0, br;q=0.0, zstd;q=0.000"], ALL, ""),
            (&["gzip;q=0.001"], ALL, "gzip"),
            (&["br", "gzip"], ALL, "br"),
            (&["*"], ALL, "br"),
            (&["*;q=0.1"], GZIP, "gzip"),
            (&["br;q=0, *"], ALL, "zstd"),
            (&["*;q=0"], ALL, ""),
            (&["*;q=0, gzip"], ALL, "gzip"),
            (&["identity"], ALL, ""),
            (&["identity, gzip"], ALL, "gzip"),
            (&["identity;q=1, gzip;q=0.5"], ALL, ""),
            (&["identity;q=0.5, gzip;q=0.5"], ALL, "gzip"),
            (&["identity;q=0"], ALL, ""),
            (&["identity;q=0, gzip;q=0.1"], ALL, "gzip"),
            (&["deflate, compress"], ALL, ""),
            // Weights that are none.
            (&["gzip;q="], ALL, ""),
            (&["gzip;q=2"], ALL, ""),
            (&["gzip;q=1.1"], ALL, ""),
            (&["gzip;q=0.0001"], ALL, ""),
            (&["gzip;q=-1"], ALL, ""),
            (&["gzip;level=9"], ALL, ""),
            (&[",,;,gzip"], ALL, "gzip"),
            (&["gzipped"], ALL, ""),
        ] {
            let mut accepted = Accepted::default();
            fields.iter().for_each(|field| accepted.add(field.as_bytes()));
            let chosen = accepted.choose(exists).map_or("", Coding::token);
            assert_eq!(chosen, expected, "{fields:?} of {exists:?}");
        }
    }
}
