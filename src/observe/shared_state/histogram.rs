//! Histograms of durations, with fixed buckets: a row of counts in shared memory, and their sum.

use std::sync::atomic::{AtomicU64, Ordering};

/// The upper bounds of the buckets in nanoseconds; one more bucket has no bound. A request of a
/// small application takes less than the first.
const BOUNDS_NS: [u64; 16] = {
    const MS: u64 = 1_000_000;
    [
        MS / 2,
        MS,
        5 * MS / 2,
        5 * MS,
        10 * MS,
        25 * MS,
        50 * MS,
        100 * MS,
        250 * MS,
        500 * MS,
        1_000 * MS,
        2_500 * MS,
        5_000 * MS,
        10_000 * MS,
        30_000 * MS,
        60_000 * MS,
    ]
};

/// The same bounds in seconds, as metrics show them.
pub const BOUNDS: [&str; BOUNDS_NS.len()] = [
    "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0",
    "2.5", "5.0", "10.0", "30.0", "60.0",
];

/// Buckets of a histogram, the unbounded one included.
pub const BUCKETS: usize = BOUNDS_NS.len() + 1;
/// Words that a histogram takes: its buckets and the sum of its values.
pub(super) const HISTOGRAM_WORDS: usize = BUCKETS + 1;

/// How many bounds are below each power of two. Each bound is at least twice the one before, so at
/// most one more is below a value that is less than the next power.
const BOUNDS_BELOW: [u8; 64] = {
    let mut counts = [0; 64];
    let mut power = 0;
    while power < 64 {
        let mut bound = 0;
        while bound < BOUNDS_NS.len() && BOUNDS_NS[bound] < 1 << power {
            bound += 1;
        }
        counts[power] = bound as u8;
        power += 1;
    }
    counts
};

/// The first bucket whose bound the value does not exceed. Most values are in the first one.
#[inline]
fn bucket_of(nanoseconds: u64) -> usize {
    if nanoseconds <= BOUNDS_NS[0] {
        return 0;
    }
    let below = usize::from(BOUNDS_BELOW[(nanoseconds | 1).ilog2() as usize]);
    below + usize::from(BOUNDS_NS.get(below).is_some_and(|&bound| nanoseconds > bound))
}

/// Adds a duration to a histogram, to which no other thread adds at the same time.
#[inline]
pub(super) fn observe(words: &[AtomicU64; HISTOGRAM_WORDS], nanoseconds: u64) {
    add(&words[bucket_of(nanoseconds)], 1);
    add(&words[BUCKETS], nanoseconds);
}

/// Adds to a word to which no other thread adds at the same time: cheaper than an atomic addition.
#[inline]
pub(super) fn add(word: &AtomicU64, amount: u64) {
    word.store(word.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

/// The counts of a histogram at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Histogram {
    /// Values in each bucket, those of lower buckets not included.
    pub buckets: [u64; BUCKETS],
    /// The sum of all values in nanoseconds.
    pub sum_ns: u64,
}

impl Histogram {
    /// Adds the counts of a histogram in shared memory.
    pub(super) fn add(&mut self, words: &[AtomicU64]) {
        let (counts, sum) = words.split_at(BUCKETS);
        for (bucket, count) in self.buckets.iter_mut().zip(counts) {
            *bucket = bucket.wrapping_add(count.load(Ordering::Relaxed));
        }
        for word in sum {
            self.sum_ns = self.sum_ns.wrapping_add(word.load(Ordering::Relaxed));
        }
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }

    /// The sum of all values in seconds.
    pub fn sum(&self) -> f64 {
        self.sum_ns as f64 / 1e9
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_the_same_in_both_notations() {
        for (text, nanoseconds) in BOUNDS.iter().zip(BOUNDS_NS) {
            assert_eq!(text.parse::<f64>().unwrap(), nanoseconds as f64 / 1e9);
        }
        assert!(BOUNDS_NS.is_sorted_by(|lower, upper| lower * 2 <= *upper));
    }

    #[test]
    fn bucket_is_the_one_that_a_search_finds() {
        let powers = (0..64).map(|power| 1_u64 << power);
        for value in powers.chain(BOUNDS_NS).chain([u64::MAX]) {
            for nanoseconds in [value.saturating_sub(1), value, value.saturating_add(1)] {
                let expected = BOUNDS_NS.iter().take_while(|&&bound| nanoseconds > bound).count();
                assert_eq!(bucket_of(nanoseconds), expected, "{nanoseconds}");
            }
        }
    }

    #[test]
    fn value_counts_in_the_bucket_whose_bound_it_does_not_exceed() {
        let words = [const { AtomicU64::new(0) }; HISTOGRAM_WORDS];
        for (nanoseconds, bucket) in [
            (0, 0),
            (500_000, 0),
            (500_001, 1),
            (60_000_000_000, 15),
            (60_000_000_001, 16),
            (u64::MAX >> 8, 16),
        ] {
            let mut before = Histogram::default();
            before.add(&words);
            observe(&words, nanoseconds);
            let mut after = Histogram::default();
            after.add(&words);
            assert_eq!(after.buckets[bucket], before.buckets[bucket] + 1, "{nanoseconds}");
            assert_eq!(after.count(), before.count() + 1);
            assert_eq!(after.sum_ns, before.sum_ns + nanoseconds);
        }
    }
}
