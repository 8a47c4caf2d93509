//! The limits of docs/style.md on files and lines, which no formatter checks: rustfmt leaves long
//! comments and strings alone.

use std::fs;
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 400;
const MAX_COLUMNS: usize = 100;

/// All Rust files below `directory`.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the directory is part of the repository");
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.expect("it was just listed").path()) {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn files_and_lines_are_within_their_limits() {
    let mut too_long = Vec::new();
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&path).expect("sources are UTF-8");
        let lines = text.lines().count();
        if lines > MAX_LINES {
            too_long.push(format!("{}: {lines} lines", path.display()));
        }
        for (number, line) in (1..).zip(text.lines()) {
            let columns = line.chars().count();
            if columns > MAX_COLUMNS {
                too_long.push(format!("{}:{number}: {columns} columns", path.display()));
            }
        }
    }
    assert!(too_long.is_empty(), "{}", too_long.join("\n"));
}
