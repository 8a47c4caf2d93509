//! Any bytes as a header of the PROXY protocol: no panic; the header is the same with bytes behind
//! it, incomplete with fewer bytes, and malformed bytes stay malformed.
#![no_main]
use libfuzzer_sys::fuzz_target;
use rustwsgi::proxies::{MAX_BYTES, ProxyProtocol, is_proxy_header, parse_proxy_header};

fuzz_target!(|data: &[u8]| {
    for allowed in [ProxyProtocol::V1, ProxyProtocol::V2, ProxyProtocol::Auto] {
        let whole = parse_proxy_header(data, allowed);
        if let Ok(Some(header)) = whole {
            assert!(header.length <= data.len().min(MAX_BYTES));
        }
        for cut in 0..data.len() {
            match (parse_proxy_header(&data[..cut], allowed), whole) {
                (Ok(None), _) => {}
                (Ok(Some(header)), whole) => {
                    assert!(header.length <= cut);
                    assert_eq!(whole, Ok(Some(header)));
                }
                (Err(malformed), whole) => assert_eq!(whole, Err(malformed)),
            }
        }
        // A stranger's connection that begins so is refused.
        if matches!(whole, Ok(Some(_))) {
            assert_eq!(is_proxy_header(data), Some(true));
        }
    }
});
