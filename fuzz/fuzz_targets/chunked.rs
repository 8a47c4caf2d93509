//! Any bytes as a chunked body: no panic, and no more content than input or the limit.
#![no_main]
use libfuzzer_sys::fuzz_target;
use rustwsgi::http1::{Connection, Event, Limits};

fuzz_target!(|data: &[u8]| {
    let mut connection = Connection::new(Limits { body: 512, ..Limits::default() });
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(connection.receive(head), Ok((head.len(), Event::Head)));
    let (mut at, mut content) = (0, 0);
    while let Ok((used, event)) = connection.receive(&data[at..]) {
        if let Event::Content(range) = &event {
            assert!(range.end <= used && !range.is_empty());
            content += range.len();
        }
        at += used;
        if matches!(event, Event::NeedMore | Event::End) {
            break;
        }
    }
    assert!(at <= data.len() && content <= data.len().min(512));
    assert_eq!(connection.received_bytes(), content as u64);
});
