//! Blocks that the reader of heads follows, and what it finds in them.

use super::*;

/// Reads the heads of the streams 1, 3, ...; returns the invalid ones.
fn invalid(blocks: &[&[u8]]) -> Vec<u32> {
    let mut heads = Heads::new();
    for (number, block) in blocks.iter().enumerate() {
        heads.begin_frame(2 * number as u32 + 1, END_HEADERS, false);
        heads.receive(block, true);
    }
    heads.invalid
}

#[test]
fn path_is_found_in_each_representation() {
    let cases: &[(&[u8], bool)] = &[
        (b"\x82\x84", true),
        (b"\x82\x85", true),
        (b"\x82", false),
        (b"", false),
        (b"\x04\x02/a", true),
        (b"\x04\x03/a#", false),
        (b"\x14\x03#/a", false),
        (b"\x44\x01#", false),
        (b"\x00\x05:path\x02/a", true),
        (b"\x00\x05:path\x03/#a", false),
        (b"\x00\x84\xb9\x58\xd3\x3f\x02/a", true),
        (b"\x10\x84\xb9\x58\xd3\x3f\x03/#a", false),
        // `/a` and `/a#` in Huffman code.
        (b"\x04\x82\x60\x7f", true),
        (b"\x04\x83\x60\x7f\xf5", false),
        // Other fields may have the sign.
        (b"\x84\x40\x01x\x02#1", true),
        (b"\x84\x0f\x11\x02#1", true),
        (b"\x3f\xe1\x1f\x84", true),
    ];
    for (block, is_valid) in cases {
        let expected: &[u32] = if *is_valid { &[] } else { &[1] };
        assert_eq!(invalid(&[block]), expected, "{}", block.escape_ascii());
    }
}

#[test]
fn path_in_the_dynamic_table_is_remembered() {
    // The entry is 62, then 63 behind another one; its name alone is used, too.
    let heads: &[&[u8]] =
        &[b"\x44\x03/a#", b"\xbe", b"\x84\x40\x01x\x01y", b"\xbf", b"\x7f\x00\x02/b", b"\xbe"];
    assert_eq!(invalid(heads), [1, 3, 7]);
}

#[test]
fn entry_that_exceeds_the_table_is_not_inserted() {
    // The table has 40 bytes: `:path` with `/a#` needs exactly as many, with `/ab#` more.
    let resized: &[u8] = b"\x3f\x09\x44\x03/a#";
    assert_eq!(invalid(&[resized, b"\xbe"]), [1, 3]);
    // A value of 4064 bytes does not fit, and one of 4063 does.
    for (length, index) in [(4064_u16, b"\xbe"), (4063, b"\xbf")] {
        let mut block = b"\x84\x40\x01x".to_vec();
        let rest = length - 127;
        block.extend_from_slice(&[127, (rest % 128 + 128) as u8, (rest / 128) as u8]);
        block.resize(block.len() + usize::from(length), b'y');
        assert_eq!(invalid(&[b"\x44\x03/a#", &block, index]), [1, 5], "{length}");
    }
}

#[test]
fn head_is_read_however_it_is_cut() {
    let block = b"\x82\x44\x03/a#";
    for size in 1..=block.len() {
        let mut heads = Heads::new();
        let frames = block.chunks(size).collect::<Vec<_>>();
        for (number, frame) in frames.iter().enumerate() {
            let flags = if number + 1 == frames.len() { END_HEADERS } else { 0 };
            heads.begin_frame(1, flags, number > 0);
            for (at, byte) in frame.iter().enumerate() {
                heads.receive(&[*byte], at + 1 == frame.len());
            }
        }
        assert_eq!(heads.invalid, [1], "{size}");
        assert!(heads.has_invalid() && heads.take_invalid(1) && !heads.take_invalid(1));
    }
}

#[test]
fn padding_and_priority_are_left_out() {
    let mut heads = Heads::new();
    heads.begin_frame(1, END_HEADERS | PADDED | PRIORITY, false);
    heads.receive(b"\x02\x80\0\0\x03\x10\x04\x01/\x04#", true);
    assert!(!heads.has_invalid());
    // The stream depends on itself: the library ignores the head.
    heads.begin_frame(3, END_HEADERS | PRIORITY, false);
    heads.receive(b"\0\0\0\x03\x10\x44\x02/#", true);
    heads.begin_frame(5, END_HEADERS, false);
    heads.receive(b"\x84", true);
    assert!(!heads.has_invalid());
    for payload in [&b"\x05\x84"[..], b"", b"\x00\x80\0\0\x03"] {
        heads.begin_frame(7, END_HEADERS | PADDED | PRIORITY, false);
        heads.receive(payload, true);
    }
}

#[test]
fn block_that_cannot_be_decoded_is_found() {
    let cases: &[(&[u8], bool)] = &[
        (b"\x82\x84", false),
        (b"\x3f\xe1\x1f\x84", false),
        (b"\x20\x20\x84", false),
        // The index 0, and one that is not in the table.
        (b"\x84\x80", true),
        (b"\x84\xbe", true),
        (b"\x84\x7e\x01a", true),
        // An integer, and a string, that end early; an integer that is too large.
        (b"\x84\xff", true),
        (b"\x84\x40\x02x", true),
        (b"\x84\xff\xff\xff\xff\xff\xff", true),
        // The table is larger than the server allows; a change that comes behind a field.
        (b"\x3f\xe2\x1f\x84", true),
        (b"\x84\x20", true),
    ];
    for (block, expected) in cases {
        let mut heads = Heads::new();
        heads.begin_frame(1, END_HEADERS, false);
        heads.receive(block, true);
        assert_eq!(heads.is_undecodable(), *expected, "{}", block.escape_ascii());
    }
}

#[test]
fn trailers_need_no_path() {
    let mut heads = Heads::new();
    for (stream, block) in [(1, &b"\x84"[..]), (3, b"\x84"), (1, b"\x00\x01x\x01y"), (3, b"")] {
        heads.begin_frame(stream, END_HEADERS, false);
        heads.receive(block, true);
    }
    assert!(!heads.has_invalid());
}
