use super::*;
use ReloadStrategy::{All, Rolling};
use WorkerState::{Booting, Ready, Retiring};

fn workers(list: &[(u32, WorkerState)]) -> Vec<WorkerStatus> {
    list.iter()
        .map(|&(generation, state)| WorkerStatus {
            state,
            ..WorkerStatus::booting(generation, true)
        })
        .collect()
}

fn ready_first(reload: ReloadStrategy) -> Policy {
    Policy { reload, replace: Replace::ReadyFirst, is_on_trial: false }
}

/// The plan for generation 1: how many are started, which are retired.
fn planned(
    list: &[(u32, WorkerState)],
    target: usize,
    strategy: ReloadStrategy,
) -> (usize, Vec<usize>) {
    let plan = plan(&workers(list), target, 1, ready_first(strategy));
    assert!(plan.end.is_empty());
    (plan.start, plan.retire)
}

#[test]
fn pool_without_reload_is_kept_at_its_target() {
    for strategy in [All, Rolling] {
        assert_eq!(planned(&[], 3, strategy), (3, vec![]));
        assert_eq!(planned(&[(1, Booting), (1, Ready)], 3, strategy), (1, vec![]));
        assert_eq!(planned(&[(1, Ready), (1, Retiring)], 2, strategy), (1, vec![]));
        assert_eq!(planned(&[(1, Ready), (1, Ready)], 2, strategy), (0, vec![]));
        assert_eq!(planned(&[(1, Ready), (1, Ready)], 1, strategy), (0, vec![0]), "the oldest");
        assert_eq!(planned(&[(1, Ready), (1, Booting)], 0, strategy), (0, vec![0]));
    }
}

#[test]
fn reload_of_all_retires_when_every_replacement_is_ready() {
    assert_eq!(planned(&[(0, Ready), (0, Ready)], 2, All), (2, vec![]));
    let one = [(0, Ready), (0, Ready), (1, Ready), (1, Booting)];
    assert_eq!(planned(&one, 2, All), (0, vec![]), "one is still booting");
    let both = [(0, Ready), (0, Ready), (1, Ready), (1, Ready)];
    assert_eq!(planned(&both, 2, All), (0, vec![0, 1]));
    let overtaken = [(0, Ready), (0, Booting)];
    assert_eq!(planned(&overtaken, 1, All), (1, vec![1]));
    assert_eq!(planned(&[(0, Ready), (0, Ready)], 0, All), (0, vec![0, 1]));
}

#[test]
fn rolling_reload_replaces_one_worker_at_a_time() {
    assert_eq!(planned(&[(0, Ready), (0, Ready)], 2, Rolling), (1, vec![]));
    assert_eq!(planned(&[(0, Ready), (0, Ready), (1, Booting)], 2, Rolling), (0, vec![]));
    assert_eq!(planned(&[(0, Ready), (0, Ready), (1, Ready)], 2, Rolling), (1, vec![0]));
    assert_eq!(planned(&[(0, Ready), (1, Ready), (1, Ready)], 2, Rolling), (0, vec![0]));
}

#[test]
fn reload_to_another_target_starts_and_retires_accordingly() {
    let more = [(0, Ready), (1, Ready), (1, Ready), (1, Ready)];
    assert_eq!(planned(&more[..1], 3, All), (3, vec![]));
    assert_eq!(planned(&more, 3, All), (0, vec![0]));
    let fewer = [(0, Ready), (0, Ready), (0, Ready), (1, Ready)];
    assert_eq!(planned(&fewer[..3], 1, All), (1, vec![]));
    assert_eq!(planned(&fewer, 1, All), (0, vec![0, 1, 2]));
    assert_eq!(planned(&fewer[..3], 1, Rolling), (1, vec![0, 1]), "surplus leaves at once");
}

#[test]
fn canary_serves_beside_all_old_workers() {
    for strategy in [All, Rolling] {
        let policy = Policy { is_on_trial: true, ..ready_first(strategy) };
        for (list, target, expected) in [
            (&[(0, Ready), (0, Ready)][..], 2, (1, vec![])),
            (&[(0, Ready), (0, Ready), (1, Booting)], 2, (0, vec![])),
            (&[(0, Ready), (0, Ready), (1, Ready)], 2, (0, vec![])),
            (&[(0, Ready), (0, Ready), (1, Ready)], 1, (0, vec![])),
            (&[(0, Ready), (1, Ready)], 1, (0, vec![])),
            // An old worker has died, or all of them.
            (&[(0, Ready), (1, Ready)], 3, (1, vec![])),
            (&[(1, Ready)], 2, (1, vec![])),
            (&[(1, Ready), (1, Ready)], 2, (0, vec![])),
            // A canary of a reload before.
            (&[(0, Ready), (0, Booting)], 1, (1, vec![1])),
        ] {
            let plan = plan(&workers(list), target, 1, policy);
            assert_eq!((plan.start, plan.retire, plan.end), (expected.0, expected.1, vec![]));
        }
        let mut list = workers(&[(0, Ready), (1, Ready)]);
        list[0].replacement_wanted = true;
        assert_eq!(plan(&list, 1, 1, policy), retire(0, &[]), "it has no old code to start with");
        list[1].replacement_wanted = true;
        assert_eq!(plan(&list, 1, 1, policy), retire(1, &[]), "the canary is recycled");
        list.extend(workers(&[(1, Booting)]));
        assert_eq!(plan(&list, 1, 1, policy), retire(0, &[]));
        list[2].state = Ready;
        assert_eq!(plan(&list, 1, 1, policy), retire(0, &[1]));
    }
}

fn retire(start: usize, retire: &[usize]) -> Plan {
    Plan { start, retire: retire.to_vec(), end: vec![] }
}

#[test]
fn recycled_worker_is_retired_when_its_replacement_is_ready() {
    for strategy in [All, Rolling] {
        let mut list = workers(&[(1, Ready), (1, Ready)]);
        list[0].replacement_wanted = true;
        assert_eq!(plan(&list, 2, 1, ready_first(strategy)), retire(1, &[]));
        list.extend(workers(&[(1, Booting)]));
        assert_eq!(plan(&list, 2, 1, ready_first(strategy)), retire(0, &[]));
        list[2].state = Ready;
        assert_eq!(plan(&list, 2, 1, ready_first(strategy)), retire(0, &[0]));
    }
}

#[test]
fn workers_recycled_together_are_replaced_one_by_one() {
    for strategy in [All, Rolling] {
        let mut list = workers(&[(1, Ready), (1, Ready), (1, Ready)]);
        list.iter_mut().for_each(|worker| worker.replacement_wanted = true);
        assert_eq!(plan(&list, 3, 1, ready_first(strategy)), retire(1, &[]));
        list.extend(workers(&[(1, Ready)]));
        assert_eq!(plan(&list, 3, 1, ready_first(strategy)), retire(1, &[0]));
    }
}

#[test]
fn messages_are_expected_in_one_state_only() {
    use Verdict::{Expected, Late, Unexpected};
    let ready = FromWorker::Ready { serves_error_page: false };
    for (message, generation, state, verdict) in [
        (ready, 1, Booting, Expected),
        (ready, 0, Booting, Expected),
        (ready, 1, Ready, Unexpected),
        (ready, 1, Retiring, Late),
        (FromWorker::ReplacementWanted, 1, Booting, Unexpected),
        (FromWorker::ReplacementWanted, 1, Ready, Expected),
        (FromWorker::ReplacementWanted, 1, Retiring, Late),
        (FromWorker::SourceChanged, 1, Booting, Expected),
        (FromWorker::SourceChanged, 0, Booting, Late),
        (FromWorker::SourceChanged, 1, Ready, Expected),
        (FromWorker::SourceChanged, 0, Ready, Late),
        (FromWorker::SourceChanged, 1, Retiring, Late),
        (FromWorker::BootConflict, 1, Booting, Expected),
        (FromWorker::BootConflict, 0, Booting, Expected),
        (FromWorker::BootConflict, 1, Ready, Unexpected),
        (FromWorker::BootConflict, 1, Retiring, Late),
    ] {
        let status = WorkerStatus { state, ..WorkerStatus::booting(generation, true) };
        assert_eq!(status.judge(message, 1), verdict, "{message:?} from {status:?}");
    }
    let booting = WorkerStatus::booting(1, true);
    let status = WorkerStatus { state: Ready, replacement_wanted: true, ..booting };
    assert_eq!(status.judge(FromWorker::ReplacementWanted, 1), Late, "it was accepted before");
    let status = WorkerStatus { has_conflict: true, ..booting };
    assert_eq!(status.judge(FromWorker::BootConflict, 1), Unexpected, "it is sent once");
}

#[test]
fn source_change_without_reload_option_is_unexpected() {
    for state in [Booting, Ready, Retiring] {
        let status = WorkerStatus { state, ..WorkerStatus::booting(1, false) };
        assert_eq!(status.judge(FromWorker::SourceChanged, 1), Verdict::Unexpected);
    }
}

/// Workers, the target, and the plan: how many start, which retire, which end.
type Case<'a> = (&'a [(u32, WorkerState)], usize, usize, &'a [usize], &'a [usize]);

#[test]
fn stop_first_replaces_one_worker_at_a_time_after_its_end() {
    let cases: &[Case] = &[
        (&[], 2, 2, &[], &[]),
        (&[(1, Ready)], 2, 1, &[], &[]),
        (&[(1, Ready), (1, Ready)], 1, 0, &[0], &[]),
        (&[(0, Ready)], 1, 0, &[], &[0]),
        (&[(0, Retiring)], 1, 0, &[], &[]),
        (&[(0, Ready), (0, Ready)], 2, 0, &[], &[0]),
        (&[(0, Retiring), (0, Ready)], 2, 0, &[], &[]),
        (&[(0, Ready)], 2, 1, &[], &[]),
        (&[(0, Ready), (1, Booting)], 2, 0, &[], &[]),
        (&[(0, Ready), (1, Ready)], 2, 0, &[], &[0]),
        (&[(0, Retiring), (1, Ready)], 2, 0, &[], &[]),
        (&[(1, Ready)], 2, 1, &[], &[]),
        // To another target.
        (&[(0, Ready), (0, Ready), (0, Ready)], 1, 0, &[], &[0, 1]),
        (&[(0, Ready), (0, Ready), (0, Ready)], 0, 0, &[], &[0, 1, 2]),
        (&[(0, Ready)], 3, 2, &[], &[]),
        // A later reload.
        (&[(0, Booting), (0, Ready)], 2, 0, &[], &[0]),
    ];
    for &(list, target, start, retire, end) in cases {
        for reload in [All, Rolling] {
            let policy = Policy { reload, replace: Replace::StopFirst, is_on_trial: false };
            let expected = Plan { start, retire: retire.to_vec(), end: end.to_vec() };
            assert_eq!(plan(&workers(list), target, 1, policy), expected, "{list:?}");
        }
    }
}

#[test]
fn stop_first_also_ends_a_recycled_worker_before_its_replacement_starts() {
    let policy = Policy { reload: All, replace: Replace::StopFirst, is_on_trial: false };
    let mut list = workers(&[(1, Ready), (1, Ready), (1, Ready)]);
    list[0].replacement_wanted = true;
    list[1].replacement_wanted = true;
    assert_eq!(plan(&list, 3, 1, policy), Plan { start: 0, retire: vec![], end: vec![0] });
    list[0].state = Retiring;
    assert_eq!(plan(&list, 3, 1, policy), Plan::default());
    list.remove(0);
    assert_eq!(plan(&list, 3, 1, policy), Plan { start: 1, retire: vec![], end: vec![] });
    list.extend(workers(&[(1, Booting)]));
    assert_eq!(plan(&list, 3, 1, policy), Plan::default());
    list[2].state = Ready;
    assert_eq!(plan(&list, 3, 1, policy), Plan { start: 0, retire: vec![], end: vec![0] });
}

#[test]
fn boot_failure_has_the_remedy_of_its_cause() {
    use BootRemedy::{Ignore, RollBack, ShutDown, StopFirst, TryAgainLater};
    let conflict = BootFailure {
        is_current: true,
        has_conflict: true,
        has_predecessor: true,
        replace: Replace::ReadyFirst,
        ends_server: false,
        is_reloading: false,
        is_on_trial: false,
    };
    let reload = BootFailure { is_reloading: true, ..conflict };
    let start = BootFailure { ends_server: true, has_predecessor: false, ..conflict };
    for (failure, remedy) in [
        (conflict, StopFirst),
        (reload, StopFirst),
        // The second attempt, and a worker that never starts beside its predecessor.
        (BootFailure { replace: Replace::StopFirst, ..conflict }, TryAgainLater),
        (BootFailure { replace: Replace::StopFirst, ..reload }, RollBack),
        (BootFailure { has_predecessor: false, ..conflict }, TryAgainLater),
        (BootFailure { has_predecessor: false, ..reload }, RollBack),
        // The predecessor is not the cause: it keeps serving.
        (BootFailure { has_conflict: false, ..conflict }, TryAgainLater),
        (BootFailure { has_conflict: false, ..reload }, RollBack),
        (BootFailure { is_on_trial: true, ..reload }, RollBack),
        (start, ShutDown),
        (BootFailure { is_current: false, ..conflict }, Ignore),
    ] {
        assert_eq!(failure.remedy(), remedy, "{failure:?}");
    }
}
