//! Field lines, of heads and trailers: httparse splits them.

use super::Error;

/// Splits `count` field lines and the empty line that ends them, and calls `each` with every name
/// and trimmed value. The caller has checked that all lines end in CRLF, which httparse does not.
pub(super) fn split_fields<'a>(
    lines: &'a [u8],
    count: usize,
    mut each: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    const ON_STACK: usize = 32;
    let mut stack = [httparse::EMPTY_HEADER; ON_STACK];
    let mut heap;
    let slots = if count <= ON_STACK {
        &mut stack[..]
    } else {
        heap = vec![httparse::EMPTY_HEADER; count];
        &mut heap[..]
    };
    match httparse::parse_headers(lines, slots) {
        Ok(httparse::Status::Complete((used, fields))) if used == lines.len() => {
            for field in fields {
                each(field.name.as_bytes(), field.value)?;
            }
            Ok(())
        }
        _ => Err(Error::Field),
    }
}
