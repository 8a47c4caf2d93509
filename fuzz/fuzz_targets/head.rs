//! Any bytes as a request head: no panic, and all accessors of an accepted head work.
#![no_main]
use libfuzzer_sys::fuzz_target;
use rustwsgi::http1::{Connection, Event, Limits};

fuzz_target!(|data: &[u8]| {
    let mut connection = Connection::new(Limits::default());
    if let Ok((used, Event::Head)) = connection.receive(data) {
        let head = connection.head();
        assert!(used <= data.len() && data[..used].ends_with(b"\r\n\r\n"));
        assert!(head.path().starts_with(b"/") || head.method() == b"OPTIONS");
        assert!(!head.method().is_empty() && !head.query().contains(&b'#'));
        assert!(head.authority() != Some(b""));
        assert!(head.fields().all(|(name, value)| !name.is_empty() && !value.contains(&b'\n')));
    }
});
