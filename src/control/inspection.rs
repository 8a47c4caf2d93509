//! What a worker reports of its threads: their stacks, and profiles of them.
//!
//! A worker runs foreign code, so a client takes a report as data.

use serde::{Deserialize, Serialize};

use super::protocol::RequestInfo;

/// A frame of Python code.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// The function; in stacks with its class, if Python knows it.
    pub function: String,
    /// The path of its source.
    pub file: String,
    /// The line that runs.
    pub line: u32,
}

/// The stack of a thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThreadReport {
    /// Python's number of the thread.
    pub ident: u64,
    /// Its name, if the interpreter could be asked.
    pub name: Option<String>,
    /// The request that it runs.
    pub request: Option<RequestInfo>,
    /// The frames, the innermost first.
    pub frames: Vec<Frame>,
    /// Frames of native code, the innermost first: of a thread that keeps the interpreter.
    #[serde(default)]
    pub native: Vec<String>,
    /// Why there are no frames, if they are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
}

/// The stacks of all threads of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StacksReport {
    /// The process id of the worker.
    pub pid: u32,
    /// How the stacks were read, if not from the interpreter.
    pub note: Option<String>,
    /// The threads.
    pub threads: Vec<ThreadReport>,
}

/// A stack of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampledStack {
    /// In how many samples it was found. A sample that came late counts for those it replaces.
    pub count: u64,
    /// `requests`, or the name of another thread.
    pub thread: String,
    /// Indexes of frames, the outermost first.
    pub frames: Vec<usize>,
}

/// A profile of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProfileReport {
    /// The process id of the worker.
    pub pid: u32,
    /// How long it was profiled.
    pub seconds: f64,
    /// Samples that were taken.
    pub samples: u64,
    /// What is missing in it.
    pub note: Option<String>,
    /// The frames of all stacks.
    pub frames: Vec<Frame>,
    /// The stacks.
    pub stacks: Vec<SampledStack>,
}
