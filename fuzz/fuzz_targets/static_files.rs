//! Any path and any fields of a request for a static file: the path names nothing outside of the
//! directory, and the ranges are within the file and not much larger than it. The first line is the
//! path, the others are the values of the fields.
#![no_main]
use libfuzzer_sys::fuzz_target;
use rustwsgi::static_files::check;

fuzz_target!(|data: &[u8]| {
    let Some((size, data)) = data.split_at_checked(2) else { return };
    let size = u64::from(size[0]) << (size[1] % 48);
    let mut lines = data.split(|&b| b == b'\n');
    let mut path = b"/".to_vec();
    path.extend_from_slice(lines.next().unwrap_or_default());
    check(&path, &lines.take(7).collect::<Vec<_>>(), size);
});
