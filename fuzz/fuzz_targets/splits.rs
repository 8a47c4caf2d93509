//! Splitting the input anywhere changes neither the requests nor the error.
#![no_main]
use libfuzzer_sys::fuzz_target;
use rustwsgi::http1::{Connection, Event, Limits, Next, ResponseHead};

/// Parses input that arrives in pieces. Requests are answered, so that others can follow.
fn read(data: &[u8], cuts: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut connection = Connection::new(Limits::default());
    let (mut parts, mut at, mut end) = (vec![], 0, 0);
    let mut cuts = cuts.iter();
    loop {
        match connection.receive(&data[at..end]) {
            Err(_) => return (parts, true),
            Ok((used, event)) => {
                let piece = &data[at..at + used];
                at += used;
                match event {
                    Event::Head => parts.extend([piece.to_vec(), vec![]]),
                    Event::Content(range) => {
                        parts.last_mut().expect("a head came first").extend(&piece[range])
                    }
                    Event::NeedMore if end == data.len() => return (parts, false),
                    Event::NeedMore => {
                        let step = cuts.next().map_or(data.len(), |&cut| 1 + usize::from(cut));
                        end = data.len().min(end + step);
                    }
                    Event::End => {
                        let mut response = ResponseHead::default();
                        response.start(b"204 No Content").expect("a good status");
                        connection.begin(&response, None, b"", &mut vec![]);
                        connection.finish(&mut vec![]).expect("nothing was promised");
                        if connection.start_next() != Next::Request {
                            return (parts, false);
                        }
                    }
                }
            }
        }
    }
}

fuzz_target!(|input: (&[u8], &[u8])| {
    let (cuts, data) = input;
    assert_eq!(read(data, &[]), read(data, cuts));
});
