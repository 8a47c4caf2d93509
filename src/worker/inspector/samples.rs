//! The stacks of a profile, counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::known_threads::KnownThreads;
use crate::control::{Frame, ProfileReport, SampledStack};
use crate::observe::counted;
use crate::wsgi::{PythonFrame, python_threads};

/// Different stacks that are kept.
const MAX_STACKS: usize = 20_000;
/// How long the names of threads are used.
const NAMES_LIFETIME: Duration = Duration::from_secs(1);
/// What the threads that run requests are called.
pub(super) const REQUESTS: &str = "requests";

/// The stacks.
#[derive(Default)]
pub(super) struct Samples {
    /// How often samples were taken.
    pub(super) taken: u64,
    /// How many there should be by now.
    ticks: u64,
    /// Stacks beyond [`MAX_STACKS`].
    lost: u64,
    frames: Vec<Frame>,
    numbers: HashMap<Frame, usize>,
    /// The numbers of the frames of a code table, by theirs.
    translated: Vec<usize>,
    /// By thread and frames, the innermost first.
    stacks: HashMap<(Arc<str>, Vec<u32>), u64>,
}

impl Samples {
    /// Counts a stack of these frames of a code table, the innermost first. `frames` are all of its
    /// frames. A thread of the server that only waits is left out.
    pub(super) fn add(
        &mut self,
        thread: &Arc<str>,
        stack: &[usize],
        frames: &[PythonFrame],
        ticks: u64,
    ) {
        for frame in &frames[self.translated.len().min(frames.len())..] {
            let PythonFrame { function, file, line } = frame.clone();
            let number = self.number(Frame { function, file, line });
            self.translated.push(number);
        }
        let stack: Vec<_> =
            stack.iter().filter_map(|&number| self.translated.get(number).copied()).collect();
        self.count(thread, &stack, ticks);
    }

    /// Counts a stack of these frames, the innermost first.
    pub(super) fn add_frames(&mut self, thread: &str, stack: &[Frame], ticks: u64) {
        let numbers: Vec<usize> = stack.iter().map(|frame| self.number(frame.clone())).collect();
        self.count(&Arc::from(thread), &numbers, ticks);
    }

    fn number(&mut self, frame: Frame) -> usize {
        *self.numbers.entry(frame).or_insert_with_key(|frame| {
            self.frames.push(frame.clone());
            self.frames.len() - 1
        })
    }

    fn count(&mut self, thread: &Arc<str>, stack: &[usize], ticks: u64) {
        let of_threading = |&&number: &&usize| self.frames[number].file.ends_with("threading.py");
        let outermost = stack.iter().rev().take_while(of_threading).count();
        let stack = &stack[..stack.len() - outermost];
        if stack.is_empty() {
            return;
        }
        let stack = stack.iter().filter_map(|&number| u32::try_from(number).ok()).collect();
        let is_full = self.stacks.len() >= MAX_STACKS;
        let key = (thread.clone(), stack);
        match self.stacks.get_mut(&key) {
            Some(count) => *count += ticks,
            None if is_full => self.lost += ticks,
            None => drop(self.stacks.insert(key, ticks)),
        }
    }

    /// All threads were added.
    pub(super) fn end_sample(&mut self, ticks: u64) {
        self.taken += 1;
        self.ticks += ticks;
    }

    /// A sentence about what is missing.
    pub(super) fn note(&self, is_complete: bool) -> Option<String> {
        let mut notes = Vec::new();
        let late = self.ticks - self.taken;
        if late * 10 > self.ticks {
            notes.push(format!(
                "{late} of {} samples came late, as the interpreter was not free",
                self.ticks
            ));
        }
        if self.lost > 0 {
            notes.push(format!(
                "{} beyond {MAX_STACKS} different ones left out",
                counted(self.lost, "stack")
            ));
        }
        if !is_complete {
            notes.push("the interpreter was not free at the end".to_owned());
        }
        (!notes.is_empty()).then(|| notes.join("; "))
    }

    pub(super) fn into_report(self, pid: u32, seconds: f64, note: Option<String>) -> ProfileReport {
        let stack = |((thread, frames), count): ((Arc<str>, Vec<u32>), u64)| SampledStack {
            count,
            thread: thread.to_string(),
            frames: frames.into_iter().rev().map(|number| number as usize).collect(),
        };
        let mut stacks: Vec<_> = self.stacks.into_iter().map(stack).collect();
        stacks.sort_by_key(|stack| std::cmp::Reverse(stack.count));
        ProfileReport { pid, seconds, samples: self.taken, note, frames: self.frames, stacks }
    }
}

/// What the threads are called.
#[derive(Default)]
pub(super) struct Names {
    names: HashMap<u64, Arc<str>>,
    read_at: Option<Instant>,
}

impl Names {
    /// `None` if it is not known: [`Names::read`] follows.
    pub(super) fn of(&mut self, ident: u64, threads: &KnownThreads) -> Option<&Arc<str>> {
        if !self.names.contains_key(&ident) && threads.has_seat(ident) {
            self.names.insert(ident, REQUESTS.into());
        }
        self.names.get(&ident)
    }

    /// Threads may have ended since, and others may have their numbers.
    pub(super) fn are_old(&self) -> bool {
        self.read_at.is_none_or(|at| at.elapsed() >= NAMES_LIFETIME)
    }

    /// Reads the names of all threads.
    pub(super) fn read(&mut self, py: Python<'_>) {
        self.names.clear();
        for thread in python_threads(py) {
            // Those that have left their seats run requests as well.
            let is_own = thread
                .name
                .strip_prefix("rustwsgi-")
                .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
            let name = if is_own { REQUESTS } else { thread.name.as_str() };
            self.names.insert(thread.ident, name.into());
        }
        self.read_at = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, file: &str) -> PythonFrame {
        PythonFrame { function: function.to_owned(), file: file.to_owned(), line: 1 }
    }

    #[test]
    fn stacks_are_counted_without_the_frames_of_threading() {
        let frames =
            [frame("_bootstrap", "/lib/threading.py"), frame("view", "/a.py"), frame("f", "/b.py")];
        let mut samples = Samples::default();
        let thread: Arc<str> = "requests".into();
        samples.add(&thread, &[1, 0], &frames[..2], 1);
        samples.end_sample(1);
        samples.add(&thread, &[2, 1, 0], &frames, 3);
        samples.add(&thread, &[0], &frames, 3);
        samples.end_sample(3);
        assert_eq!(
            samples.note(true).unwrap(),
            "2 of 4 samples came late, as the interpreter was not free"
        );
        let report = samples.into_report(7, 0.5, None);
        let stacks: Vec<_> =
            report.stacks.iter().map(|stack| (stack.count, stack.frames.clone())).collect();
        assert_eq!((report.samples, stacks), (2, vec![(3, vec![1, 2]), (1, vec![1])]));
        assert_eq!(report.frames[2].function, "f");
    }

    #[test]
    fn number_of_different_stacks_is_bounded() {
        let mut samples = Samples::default();
        for line in 0..MAX_STACKS as u32 + 5 {
            let frame = Frame { function: "f".to_owned(), file: "/a.py".to_owned(), line };
            samples.add_frames("requests", &[frame], 1);
        }
        samples.end_sample(1);
        assert!(samples.note(true).unwrap().starts_with("5 stacks beyond 20000"));
        assert_eq!(samples.into_report(1, 1.0, None).stacks.len(), MAX_STACKS);
    }
}
