use super::*;

fn tallies(new: [u64; 2], old: [u64; 2]) -> Tallies {
    let [new, old] = [new, old].map(|[failed, answered]| Tally { answered, failed });
    Tallies { new, old }
}

#[test]
fn rate_of_failures_decides_unless_it_is_chance() {
    // (failed, answered) of the canary and of the old workers; at the end, and before.
    for (new, old, at_end, early) in [
        ([0, 0], [0, 0], false, false),
        ([0, 0], [5, 10], false, false),
        ([0, 500], [0, 500], false, false),
        ([1, 1], [0, 0], false, false),
        ([1, 1], [0, 100_000], false, false),
        ([1, 100_000], [0, 1_000_000], false, false),
        ([2, 2], [0, 0], false, false),
        ([3, 3], [0, 0], true, false),
        ([3, 3], [0, 100], true, true),
        ([20, 20], [0, 0], true, true),
        ([20, 20], [0, 1], true, true),
        ([2, 200], [0, 200], false, false),
        ([10, 200], [0, 200], true, false),
        ([20, 200], [0, 200], true, true),
        // The database has failed for all.
        ([5, 5], [5, 5], false, false),
        ([10, 10], [9, 10], false, false),
        ([5, 5], [4, 5], false, false),
        ([50, 100], [500, 1000], false, false),
        ([500, 1000], [500, 1000], false, false),
        ([530, 1000], [500, 1000], false, false),
        ([600, 1000], [500, 1000], true, true),
        // Better than the old ones.
        ([10, 1000], [500, 1000], false, false),
        ([1, 50], [0, 1_000_000], false, false),
        ([900_000, 1_000_000], [0, 1_000_000], true, true),
        ([1000, 1_000_000], [990, 1_000_000], false, false),
    ] {
        let compared = tallies(new, old);
        assert_eq!(is_worse(compared, true), at_end, "{new:?}, {old:?}");
        assert_eq!(is_worse(compared, false), early, "{new:?}, {old:?} early");
    }
}

#[test]
fn chance_is_that_of_the_exact_test() {
    for (new, old, expected) in [
        ([5, 5], [0, 5], 1.0 / 252.0),
        ([3, 3], [0, 10], 1.0 / 286.0),
        ([2, 5], [0, 10], 10.0 / 105.0),
        ([0, 5], [3, 5], 1.0),
        ([4, 4], [6, 16], 210.0 / 4845.0),
    ] {
        let Tallies { new, old } = tallies(new, old);
        assert!((chance(new, old) / expected - 1.0).abs() < 1e-9, "{}", chance(new, old));
    }
}

#[test]
fn stirlings_series_continues_the_factorials() {
    let product: f64 = (2..=20).map(|factor| f64::from(factor).ln()).sum();
    assert!((ln_factorial(20.0) / product - 1.0).abs() < 1e-12);
    assert_eq!(ln_factorial(0.0), 0.0);
}

#[test]
fn counts_that_workers_have_forged_are_judged_without_a_panic() {
    const HALF: u64 = u64::MAX / 2;
    for new in [[u64::MAX, u64::MAX], [u64::MAX, 1], [2, u64::MAX], [HALF, HALF + HALF / 2]] {
        for old in [[0, 0], [u64::MAX, u64::MAX], [HALF, u64::MAX]] {
            is_worse(tallies(new, old), true);
        }
    }
}

#[test]
fn trial_is_judged_each_second_and_at_its_end() {
    let start = Instant::now();
    let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
    let mut trial = Trial::new(Duration::from_secs_f64(2.5));
    assert_eq!((trial.next_check(), trial.judge(start, Tallies::default())), (None, Verdict::Open));
    // What came before the trial does not count.
    assert!(trial.begin(start, tallies([0, 0], [90, 100])));
    assert!(!trial.begin(at(1.0), Tallies::default()), "it runs");
    let fine = tallies([0, 50], [90, 150]);
    let bad = tallies([50, 50], [90, 150]);
    assert_eq!(trial.judge(at(0.5), bad), Verdict::Open, "not yet");
    assert_eq!(trial.next_check(), Some(at(1.0)));
    assert_eq!(trial.judge(at(1.0), fine), Verdict::Open);
    assert_eq!(trial.clone().judge(at(2.0), bad), Verdict::Failed);
    assert_eq!(trial.judge(at(2.0), fine), Verdict::Open);
    assert_eq!(trial.next_check(), Some(at(2.5)));
    assert_eq!(trial.left(at(2.0)), Some(Duration::from_millis(500)));
    assert_eq!(trial.clone().judge(at(2.5), fine), Verdict::Passed);
    assert_eq!(trial.judge(at(9.0), bad), Verdict::Failed);
}

#[test]
fn workers_that_end_during_the_trial_count() {
    let start = Instant::now();
    let mut trial = Trial::new(Duration::from_secs(1));
    let tally = |failed, answered| Tally { answered, failed };
    trial.keep(false, tally(7, 7));
    trial.begin(start, tallies([0, 0], [1, 10]));
    // An old worker ends with what it had answered before, and 20 more; so does the canary.
    trial.keep(false, tally(1, 30));
    trial.keep(true, tally(4, 40));
    let compared = trial.compared(tallies([1, 5], [0, 5]));
    assert_eq!(compared, tallies([5, 45], [0, 25]));
    assert_eq!(
        compared.describe(),
        "5xx in 11.1 % of 45 responses, of the old workers in 0.0 % of 25 responses"
    );
}
