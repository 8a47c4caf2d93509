//! Imports point downward only: the table in `src/lib.rs`, as a test.
//!
//! Reads every `crate::` path of `src` (and every `super::` that climbs out of its layer), so that
//! what a layer must not know stays unknown to it. A new module at the top of the crate has to be
//! given its place here first.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

#[path = "layers/circles.rs"]
mod circles;

/// What the files of one module at the top of the crate may name.
struct Layer {
    name: &'static str,
    /// Modules at the top of the crate.
    may_use: &'static [&'static str],
    /// Crates and parts of the standard library it must not know.
    never: &'static [&'static str],
}

const PYTHON: &[&str] = &["pyo3"];
const SOCKETS: &[&str] = &["mio", "socket2", "std::net", "std::os::unix::net"];
const EVERYTHING: &[&str] = &[
    "http1",
    "proxies",
    "sync",
    "sys",
    "config",
    "observe",
    "net",
    "acme",
    "control",
    "static_files",
    "wsgi",
    "worker",
    "supervisor",
    "cli",
    "module",
];

/// What a layer that only computes never uses: Python, I/O, threads and clocks.
const IO_AND_CLOCK: &[&str] = &[
    "pyo3",
    "mio",
    "socket2",
    "rustix",
    "libc",
    "log::",
    "std::fs",
    "std::io",
    "std::os",
    "std::thread",
    "std::time",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
];

const LAYERS: &[Layer] = &[
    // No Python, no I/O, no clock. (An IPv6 address is parsed, not connected to.)
    Layer { name: "http1", may_use: &[], never: IO_AND_CLOCK },
    // Policies and parsers only. (Addresses are values.)
    Layer { name: "proxies", may_use: &["http1"], never: IO_AND_CLOCK },
    // Independent of the data that the locks protect.
    Layer { name: "sync", may_use: &[], never: &["pyo3", "mio", "socket2", "std::net"] },
    // May use pyo3: it registers hooks for forks made by Python.
    Layer { name: "sys/fork", may_use: &[], never: &["mio", "socket2", "std::net"] },
    Layer { name: "sys", may_use: &[], never: &["pyo3", "mio", "socket2", "std::net"] },
    Layer { name: "observe", may_use: &["http1", "sync", "sys"], never: PYTHON },
    Layer { name: "config", may_use: &["http1", "observe", "proxies"], never: PYTHON },
    // The master and its workers know the protocol.
    Layer { name: "control", may_use: &["config", "observe", "sys"], never: PYTHON },
    Layer {
        name: "static_files",
        may_use: &["http1", "config"],
        never: &["pyo3", "mio", "socket2", "std::net", "std::os::unix::net"],
    },
    Layer {
        name: "net",
        may_use: &["http1", "proxies", "config", "observe", "static_files", "sync", "sys"],
        never: PYTHON,
    },
    // Its sockets are those of its HTTP client.
    Layer { name: "acme", may_use: &["config", "net", "sync"], never: &["pyo3", "log::"] },
    Layer {
        name: "wsgi",
        may_use: &["http1", "proxies", "config", "observe", "static_files", "sync", "sys"],
        never: SOCKETS,
    },
    // The thread policy is more narrow than the layer it belongs to.
    Layer {
        name: "worker/scheduler",
        may_use: &["sync"],
        never: &["pyo3", "mio", "socket2", "std::net"],
    },
    Layer {
        name: "worker",
        may_use: &[
            "http1",
            "proxies",
            "config",
            "observe",
            "static_files",
            "sync",
            "sys",
            "net",
            "wsgi",
            "control",
        ],
        never: &["mio"],
    },
    // Never wsgi: a master that imported the application could not give it up for a new one.
    Layer {
        name: "supervisor",
        may_use: &["http1", "config", "control", "observe", "sync", "sys", "net", "acme", "worker"],
        never: &[],
    },
    Layer { name: "module", may_use: EVERYTHING, never: &[] },
    Layer { name: "cli", may_use: EVERYTHING, never: &[] },
    Layer { name: "bin", may_use: EVERYTHING, never: &[] },
    // Declares the modules, and exports the Python one.
    Layer { name: "lib", may_use: EVERYTHING, never: &[] },
];

/// The layer of a file, by its path below `src`.
fn layer_of(path: &str) -> Option<&'static Layer> {
    LAYERS.iter().find(|layer| {
        path.strip_prefix(layer.name).is_some_and(|rest| rest.starts_with(['/', '.']))
    })
}

/// One break of a rule: where, and which.
#[derive(Debug, PartialEq)]
struct Breach {
    line: usize,
    rule: String,
}

/// Takes comments away, so that a link in a doc comment is no import. The `//` inside a string,
/// behind an odd number of quotes, begins none.
fn without_comments(source: &str) -> String {
    let lines = source.lines().map(|line| {
        let comment =
            line.match_indices("//").find(|(at, _)| line[..*at].matches('"').count() % 2 == 0);
        comment.map_or(line, |(at, _)| &line[..at])
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `path` stands in `source`, but not as a part of a longer name or path.
fn mentions<'a>(source: &'a str, path: &'a str) -> impl Iterator<Item = usize> + 'a {
    source.match_indices(path).map(|(at, _)| at).filter(move |&at| {
        let before = source[..at].chars().next_back();
        let after = source[at + path.len()..].chars().next();
        !before.is_some_and(|c| is_name(c) || c == ':')
            && (path.ends_with("::") || !after.is_some_and(is_name))
    })
}

/// The first names behind a path: one, or those in braces.
fn first_names(rest: &str) -> Vec<String> {
    let name = |text: &str| text.trim_start().chars().take_while(|&c| is_name(c)).collect();
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(name(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names
}

/// Checks one file; `path` is its path below `src`.
fn check(path: &str, source: &str) -> Vec<Breach> {
    let Some(layer) = layer_of(path) else {
        let rule = "has no place in the table of layers".to_owned();
        return vec![Breach { line: 1, rule }];
    };
    let source = without_comments(source);
    let own = layer.name.split('/').next().unwrap_or_default();
    let mut breaches = Vec::new();
    let mut breach = |at: usize, rule: String| {
        breaches.push(Breach { line: source[..at].matches('\n').count() + 1, rule });
    };

    // How many `super::` lead from this file's module to the top of the crate.
    let parts: Vec<_> = path.trim_end_matches(".rs").split('/').collect();
    let depth = parts.len() - usize::from(parts.ends_with(&["mod"]));
    let climbs = "super::".repeat(depth);
    for root in ["crate::", "rustwsgi::", &climbs] {
        for at in mentions(&source, root) {
            for name in first_names(&source[at + root.len()..]) {
                let known = LAYERS.iter().any(|other| other.name == name);
                if known && name != own && !layer.may_use.contains(&name.as_str()) {
                    let allowed = match layer.may_use {
                        [] => "nothing of the crate".to_owned(),
                        allowed => format!("only {}", allowed.join(", ")),
                    };
                    breach(at, format!("{} may use {allowed}, not {name}", layer.name));
                }
            }
        }
    }
    for banned in layer.never {
        for at in mentions(&source, banned) {
            breach(at, format!("{} must not know {banned}", layer.name));
        }
    }
    breaches
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

#[test]
fn imports_point_downward_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files).unwrap();
    files.sort();
    assert!(files.len() > 30, "where is the source? {files:?}");
    let mut report = String::new();
    for file in files {
        let path = file.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
        for Breach { line, rule } in check(&path, &fs::read_to_string(&file).unwrap()) {
            writeln!(report, "src/{path}:{line}: {rule}").unwrap();
        }
    }
    assert!(report.is_empty(), "imports that the layers in src/lib.rs do not allow:\n{report}");
}

/// Layers whose files must not import each other in a circle.
const WITHOUT_CIRCLES: &[&str] = &["net", "config", "static_files", "supervisor"];

#[test]
fn no_layer_has_an_import_circle() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut report = String::new();
    for layer in WITHOUT_CIRCLES {
        let mut paths = Vec::new();
        rust_files(&src.join(layer), &mut paths).unwrap();
        let read = |path: &PathBuf| {
            let below = path.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
            (below, fs::read_to_string(path).unwrap())
        };
        let files: Vec<_> = paths.iter().map(read).collect();
        assert!(files.len() > 5, "where is the source? {paths:?}");
        for circle in circles::circles(&files) {
            writeln!(report, "{} -> {}", circle.join(" -> "), circle[0]).unwrap();
        }
    }
    assert!(report.is_empty(), "files that import each other in a circle:\n{report}");
}

#[test]
fn layers_of_this_table_are_documented() {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let lib = fs::read_to_string(lib).unwrap();
    let (doc, code): (Vec<_>, Vec<_>) = lib.lines().partition(|line| line.starts_with("//!"));
    for line in code {
        let Some(name) = line.trim_start_matches("pub ").strip_prefix("mod ") else { continue };
        let name = name.trim_end_matches(';');
        assert!(layer_of(&format!("{name}.rs")).is_some(), "{name} has no place in the table here");
        assert!(
            doc.iter().any(|line| mentions(line, name).next().is_some()),
            "{name} has no place in the table of src/lib.rs"
        );
    }
}

#[test]
fn import_of_a_higher_layer_is_found() {
    // path below src, source, what is said about it
    for (path, source, expected) in [
        ("http1/head.rs", "use super::Error;\nuse crate::net::X;", "2: http1 may use nothing"),
        ("http1/mod.rs", "use super::config::X;", "1: http1 may use nothing"),
        ("http1/head.rs", "use super::super::observe;", "1: http1 may use nothing"),
        (
            "http1/head.rs",
            "let now = std::time::Instant::now();",
            "1: http1 must not know std::time",
        ),
        ("http1/tests/a.rs", "use pyo3::prelude::*;", "1: http1 must not know pyo3"),
        ("net/poller.rs", "\n\nfn f(x: &crate::wsgi::Wsgi) {}", "3: net may use only http1"),
        ("net/poller.rs", "use crate::{config, worker::Server};", "1: net may use only http1"),
        ("net/poller.rs", "use crate::{\n  http1::{X, Y},\n  wsgi,\n};", "1: net may use only"),
        ("net/mod.rs", "#[pyo3::pyclass]", "1: net must not know pyo3"),
        ("config/app.rs", "use crate::net;", "1: config may use only http1, observe, proxies"),
        ("wsgi/app.rs", "pub(crate) use crate::net::Body;", "1: wsgi may use only"),
        ("wsgi/app.rs", "use mio::net::TcpStream;", "1: wsgi must not know mio"),
        ("worker/server.rs", "use crate::cli;", "1: worker may use only"),
        (
            "worker/scheduler.rs",
            "use crate::net::PollerHandle;",
            "1: worker/scheduler may use only sync, not net",
        ),
        (
            "worker/scheduler/tests.rs",
            "use pyo3::Python;",
            "1: worker/scheduler must not know pyo3",
        ),
        ("supervisor/master.rs", "use crate::wsgi::X;", "1: supervisor may use only"),
        ("metrics.rs", "", "1: has no place in the table of layers"),
    ] {
        let found = check(path, source);
        let [Breach { line, rule }] = &found[..] else { panic!("{path}: {source}: {found:?}") };
        let found = format!("{line}: {rule}");
        assert!(found.starts_with(expected), "{path}: {source}: {found}");
    }
    for (path, source) in [
        ("http1/head.rs", "/// See [`X`](crate::wsgi::X).\nuse super::net;"),
        ("http1/head.rs", "use crate::http1::Error; let url = \"http://x\"; // crate::net::X"),
        (
            "http1/head.rs",
            "a::crate_name::b(); mycrate::net::x(); a::super::super::net; pyo3_like; log;",
        ),
        ("net/poller.rs", "use crate::{config::{self, wsgi}, observe, net::X, http1};"),
        ("wsgi/app.rs", "use pyo3::prelude::*;"),
        ("worker/server.rs", "use crate::wsgi::X; use super::scheduler::{net, door};"),
        ("cli.rs", "use crate::worker::Server;"),
        ("bin/rustwsgi.rs", "use rustwsgi::door;"),
    ] {
        assert_eq!(check(path, source), [], "{path}: {source}");
    }
}
