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

/// The plan for generation 1: how many are started, which are retired.
fn planned(
    list: &[(u32, WorkerState)],
    target: usize,
    strategy: ReloadStrategy,
) -> (usize, Vec<usize>) {
    let plan = plan(&workers(list), target, 1, strategy);
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
fn recycled_worker_is_retired_when_its_replacement_is_ready() {
    for strategy in [All, Rolling] {
        let mut list = workers(&[(1, Ready), (1, Ready)]);
        list[0].replacement_wanted = true;
        assert_eq!(plan(&list, 2, 1, strategy), Plan { start: 1, retire: vec![] });
        list.extend(workers(&[(1, Booting)]));
        assert_eq!(plan(&list, 2, 1, strategy), Plan { start: 0, retire: vec![] });
        list[2].state = Ready;
        assert_eq!(plan(&list, 2, 1, strategy), Plan { start: 0, retire: vec![0] });
    }
}

#[test]
fn workers_recycled_together_are_replaced_one_by_one() {
    for strategy in [All, Rolling] {
        let mut list = workers(&[(1, Ready), (1, Ready), (1, Ready)]);
        list.iter_mut().for_each(|worker| worker.replacement_wanted = true);
        assert_eq!(plan(&list, 3, 1, strategy), Plan { start: 1, retire: vec![] });
        list.extend(workers(&[(1, Ready)]));
        assert_eq!(plan(&list, 3, 1, strategy), Plan { start: 1, retire: vec![0] });
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
        (FromWorker::SourceChanged, 1, Booting, Unexpected),
        (FromWorker::SourceChanged, 1, Ready, Expected),
        (FromWorker::SourceChanged, 0, Ready, Late),
        (FromWorker::SourceChanged, 1, Retiring, Late),
    ] {
        let status = WorkerStatus { state, ..WorkerStatus::booting(generation, true) };
        assert_eq!(status.judge(message, 1), verdict, "{message:?} from {status:?}");
    }
    let booting = WorkerStatus::booting(1, true);
    let status = WorkerStatus { state: Ready, replacement_wanted: true, ..booting };
    assert_eq!(status.judge(FromWorker::ReplacementWanted, 1), Late, "it was accepted before");
}

#[test]
fn source_change_without_reload_option_is_unexpected() {
    for state in [Booting, Ready, Retiring] {
        let status = WorkerStatus { state, ..WorkerStatus::booting(1, false) };
        assert_eq!(status.judge(FromWorker::SourceChanged, 1), Verdict::Unexpected);
    }
}
