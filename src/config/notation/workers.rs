//! The notation of the number of workers.

use clap::builder::ValueParser;
use toml::Value;

use super::Notation;
use crate::config::parse;
use crate::config::settings::{MAX_WORKERS, WorkerCount};

/// A number, or `auto`.
pub(in crate::config) const WORKER_COUNT: &Notation<WorkerCount> = &Notation::new(
    || ValueParser::new(worker_count),
    |count| match count {
        WorkerCount::Auto => Value::from("auto"),
        WorkerCount::Number(number) => super::whole(*number as u64),
    },
);

fn worker_count(text: &str) -> Result<WorkerCount, String> {
    if text == "auto" {
        return Ok(WorkerCount::Auto);
    }
    parse::whole_number::<usize, 1, { MAX_WORKERS as u64 }>(text)
        .map(WorkerCount::Number)
        .map_err(|reason| format!("{reason}, and not 'auto'"))
}
