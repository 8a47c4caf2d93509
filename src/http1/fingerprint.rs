//! The hash of a request head, for the caches that look heads up by it.

/// Hashes a word at a time by multiplying and folding. It has to be fast and well distributed; it
/// does not resist an attacker, as the bytes are compared as well.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| {
        let product = u128::from(hash ^ word) * u128::from(K);
        (product as u64) ^ (product >> 64) as u64
    };
    let words = bytes.chunks_exact(8);
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    let hash = words.fold(K ^ bytes.len() as u64, |hash, bytes| mix(hash, word(bytes)));
    mix(hash, u64::from_le_bytes(last))
}
