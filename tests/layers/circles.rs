//! Finds import circles among the files of one layer, so that each file can be read after the ones
//! that it stands on.
//!
//! A path such as `use super::state::State` is an import of the file that defines the name. Where a
//! module hands a name on (`pub use child::Name`), it is an import of the child. Methods cross
//! files without an import: where a file calls a method of its own type that another file
//! implements, that counts as an import as well. Tests may import what they like.

use std::collections::{BTreeMap, BTreeSet};

use super::{is_name, mentions, without_comments};

/// The files of a layer: path below `src`, source.
type Files<'a> = &'a [(String, String)];

/// One file, read.
struct Room {
    /// `["net", "poller", "read"]` for `net/poller/read.rs`.
    module: Vec<String>,
    source: String,
    /// Names that the module hands on, and the path of each.
    reexports: BTreeMap<String, Vec<String>>,
    /// Paths within the layer that the file names.
    paths: Vec<Vec<String>>,
}

/// The circles of a layer, each as the paths of its files; the last one imports the first.
pub(super) fn circles(files: Files<'_>) -> Vec<Vec<String>> {
    let rooms: BTreeMap<&str, Room> = files
        .iter()
        .filter(|(path, _)| !is_test(path))
        .map(|(path, source)| (path.as_str(), Room::read(path, source)))
        .collect();
    let house = House { rooms };
    let imports = house.imports();
    let mut circles = Vec::new();
    let mut done = BTreeSet::new();
    for path in imports.keys() {
        find_circles(path, &imports, &mut vec![], &mut done, &mut circles);
    }
    circles
}

type Imports<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

fn find_circles<'a>(
    path: &'a str,
    imports: &Imports<'a>,
    trail: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
    circles: &mut Vec<Vec<String>>,
) {
    if let Some(start) = trail.iter().position(|other| *other == path) {
        circles.push(trail[start..].iter().map(ToString::to_string).collect());
        return;
    }
    if !done.contains(path) {
        trail.push(path);
        for next in imports.get(path).into_iter().flatten() {
            find_circles(next, imports, trail, done, circles);
        }
        trail.pop();
        done.insert(path);
    }
}

fn is_test(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part.ends_with("tests.rs"))
}

impl Room {
    fn read(path: &str, source: &str) -> Room {
        let mut module: Vec<_> =
            path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        let source = without_tests(&without_comments(source));
        let (mut reexports, mut paths) = (BTreeMap::new(), Vec::new());
        let children = declared_modules(&source);
        for (at, tree, is_public) in use_trees(&source) {
            for path in expand(tree) {
                let Some(path) = absolute(&path, &module, &children, inline_depth(&source, at))
                else {
                    continue;
                };
                if let (true, Some(name)) = (is_public, path.last()) {
                    reexports.insert(name.clone(), path.clone());
                }
                paths.push(path);
            }
        }
        // Paths outside of `use`: `crate::net::X`, `super::X`, or a module of this file.
        let roots = ["crate::".to_owned(), "super::".to_owned()];
        for root in roots.into_iter().chain(children.iter().map(|child| format!("{child}::"))) {
            for at in mentions(&source, &root) {
                let text: String =
                    source[at..].chars().take_while(|&c| is_name(c) || c == ':').collect();
                // A group belongs to a `use`, and `pub(in crate::net)` is no import.
                if text.ends_with("::") || source[..at].ends_with("in ") {
                    continue;
                }
                let path: Vec<_> =
                    text.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
                paths.extend(absolute(&path, &module, &children, inline_depth(&source, at)));
            }
        }
        Room { module, source, reexports, paths }
    }
}

struct House<'a> {
    rooms: BTreeMap<&'a str, Room>,
}

impl<'a> House<'a> {
    fn imports(&self) -> Imports<'a> {
        let mut imports: Imports<'a> = BTreeMap::new();
        for (&from, room) in &self.rooms {
            let targets = room.paths.iter().filter_map(|path| self.resolve(path, 0));
            imports.entry(from).or_default().extend(targets.filter(|to| *to != from));
        }
        for (&path, room) in &self.rooms {
            for (type_name, methods) in inherent_impls(&room.source) {
                let Some(owner) = self.owner_of(room, &type_name).filter(|owner| *owner != path)
                else {
                    continue;
                };
                let owner_source = &self.rooms[owner].source;
                let calls = |name: &String| {
                    owner_source.contains(&format!(".{name}("))
                        || owner_source.contains(&format!("::{name}("))
                };
                if methods.iter().any(calls) {
                    imports.entry(owner).or_default().insert(path);
                }
            }
        }
        imports
    }

    /// The file that defines a type which `room` implements methods of, as its imports say.
    fn owner_of(&self, room: &Room, type_name: &str) -> Option<&'a str> {
        let named = room.paths.iter().filter(|path| path.last().is_some_and(|l| l == type_name));
        named.filter_map(|path| self.resolve(path, 0)).next()
    }

    /// The file that a path leads to.
    fn resolve(&self, path: &[String], hops: usize) -> Option<&'a str> {
        let is_module = |module: &[String]| {
            self.rooms.iter().find(|(_, room)| room.module == module).map(|(&path, _)| path)
        };
        let depth = (1..=path.len()).rev().find(|&depth| is_module(&path[..depth]).is_some())?;
        let file = is_module(&path[..depth])?;
        let Some(name) = path.get(depth) else { return Some(file) };
        match self.rooms[file].reexports.get(name) {
            // A name may be handed on more than once; a few hops are enough.
            Some(next) if hops < 8 && next != path => self.resolve(next, hops + 1),
            _ => Some(file),
        }
    }
}

/// Cuts inline test modules off.
fn without_tests(source: &str) -> String {
    let mut rest = source.to_owned();
    while let Some(start) = rest.find("mod tests {") {
        let end = closing_brace(&rest, start).unwrap_or(rest.len());
        rest.replace_range(start..end, "");
    }
    rest
}

/// The end of the block whose first brace follows `start`.
fn closing_brace(source: &str, start: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in source[start..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(start + at + 1),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The modules that a file declares by `mod name;`.
fn declared_modules(source: &str) -> Vec<String> {
    let lines = source.lines().map(|line| line.trim_start().trim_start_matches("pub "));
    let names = lines.filter_map(|line| {
        let line = line.split_once(") ").filter(|_| line.starts_with("pub(")).map_or(line, |l| l.1);
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    names.map(str::to_owned).collect()
}

/// How many inline modules surround a place.
fn inline_depth(source: &str, place: usize) -> usize {
    mentions(source, "mod")
        .filter(|&at| at < place)
        .filter(|&at| {
            let head: String = source[at..].chars().take_while(|&c| c != '{' && c != ';').collect();
            source[at + head.len()..].starts_with('{')
                && closing_brace(source, at).is_some_and(|end| place < end)
        })
        .count()
}

/// All `use` declarations: where, the tree, and whether it hands names on.
fn use_trees(source: &str) -> impl Iterator<Item = (usize, &str, bool)> {
    mentions(source, "use").filter_map(|at| {
        let before = source[..at].rsplit(['\n', ';', '}']).next().unwrap_or_default().trim();
        let is_public = before.starts_with("pub");
        let tree = source[at + "use".len()..].split(';').next()?;
        (before.is_empty() || is_public).then_some((at, tree, is_public))
    })
}

/// `a::{b, c::D}` is `a::b` and `a::c::D`; `a::{self}` is `a`; what `as` renames keeps its first
/// name.
fn expand(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some((prefix, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        let parts = path.split("::").map(str::trim).filter(|part| !part.is_empty());
        return vec![parts.filter(|part| *part != "*").map(str::to_owned).collect()];
    };
    let prefix: Vec<_> = prefix
        .split("::")
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect();
    let group = group.trim_end().trim_end_matches('}');
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    // The braces of a last nested group were trimmed with the outer ones.
    let last = format!("{}{}", &group[start..], "}".repeat(depth.max(0) as usize));
    let parts = parts.into_iter().chain([last.as_str()]).filter(|part| !part.trim().is_empty());
    parts
        .flat_map(expand)
        .map(|path| {
            let path = path.into_iter().filter(|part| part != "self");
            prefix.iter().cloned().chain(path).collect()
        })
        .collect()
}

/// A path from the top of the crate, if it stays in the layer of `module`.
fn absolute(
    path: &[String],
    module: &[String],
    children: &[String],
    inline: usize,
) -> Option<Vec<String>> {
    let first = path.first()?;
    let absolute: Vec<String> = match first.as_str() {
        "crate" => path[1..].to_vec(),
        "super" => {
            let climbs = path.iter().take_while(|part| *part == "super").count();
            let up = climbs.saturating_sub(inline);
            let base = module.len().checked_sub(up)?;
            module[..base].iter().chain(&path[climbs..]).cloned().collect()
        }
        "self" => module.iter().chain(&path[1..]).cloned().collect(),
        child if children.iter().any(|name| name == child) => {
            module.iter().chain(path).cloned().collect()
        }
        _ => return None,
    };
    (absolute.first() == module.first()).then_some(absolute)
}

/// The types that a file implements methods of without a trait, and the methods.
fn inherent_impls(source: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for at in mentions(source, "impl") {
        let Some(end) = closing_brace(source, at) else { continue };
        let (head, body) = source[at..end].split_once('{').unwrap_or_default();
        let is_item = source[..at].ends_with('\n') || at == 0;
        if !is_item || mentions(head, "for").next().is_some() {
            continue;
        }
        let name = head.trim_start_matches("impl").trim_start();
        let name = match name.strip_prefix('<') {
            Some(rest) => rest.split_once("> ").map_or("", |(_, name)| name),
            None => name,
        };
        let name: String = name.chars().take_while(|&c| is_name(c)).collect();
        let methods = mentions(body, "fn")
            .map(|at| body[at + 3..].chars().take_while(|&c| is_name(c)).collect::<String>());
        found.push((name, methods.collect()));
    }
    found
}

#[test]
fn circles_are_found() {
    let layer = |files: &[(&str, &str)]| -> Vec<(String, String)> {
        files.iter().map(|(path, source)| (format!("net/{path}"), source.to_string())).collect()
    };
    // files, circle
    for (files, expected) in [
        (
            vec![
                ("a.rs", "use super::b::B;\n"),
                ("b.rs", "use crate::net::{c::{C, D}, x};\n"),
                ("c.rs", "fn f() -> super::a::A {}"),
            ],
            vec!["net/a.rs", "net/b.rs", "net/c.rs"],
        ),
        // Through a name that the parent hands on.
        (
            vec![
                ("mod.rs", "mod a;\nmod b;\npub use a::A;\n"),
                ("a.rs", "use super::b;\n"),
                ("b.rs", "use super::A;\n"),
            ],
            vec!["net/a.rs", "net/b.rs"],
        ),
        // Through methods of the parent's type.
        (
            vec![
                ("p.rs", "mod step;\nstruct P;\nimpl P {\n    fn f(&self) { self.go(); }\n}"),
                ("p/step.rs", "use super::P;\n\nimpl P {\n    fn go(&self) {}\n}"),
            ],
            vec!["net/p.rs", "net/p/step.rs"],
        ),
        // Through a child.
        (
            vec![
                ("p.rs", "mod step;\nuse step::go;\nstruct P;"),
                ("p/step.rs", "fn go(p: &super::P) {}"),
            ],
            vec!["net/p.rs", "net/p/step.rs"],
        ),
    ] {
        assert_eq!(circles(&layer(&files)), [expected], "{files:?}");
    }
    for files in [
        vec![
            ("a.rs", "use super::b::B;\n"),
            ("b.rs", "// use super::a::A;\nuse super::c;"),
            ("c.rs", "use std::a;\n#[cfg(test)]\nmod tests {\n    use super::super::a;\n}"),
        ],
        // A parent that only declares and hands on is not imported by its children's siblings.
        vec![
            ("mod.rs", "mod a;\nmod b;\npub use a::A;\npub use b::B;\n"),
            ("a.rs", "pub struct A;"),
            ("b.rs", "use super::A;\n"),
        ],
        // A method that its type's file does not call.
        vec![
            ("p.rs", "struct P;"),
            ("q.rs", "use super::p::P;\n\nimpl P {\n    fn go(&self) {}\n}"),
        ],
        // An inline module is part of its file.
        vec![("a.rs", "mod inner {\n    use super::X;\n}\nuse super::b;"), ("b.rs", "")],
        vec![
            ("p.rs", "mod tests;\nmod step;\nuse step::go;"),
            ("p/step.rs", "fn go() {}"),
            ("p/tests.rs", "use super::P;"),
        ],
    ] {
        assert_eq!(circles(&layer(&files)), Vec::<Vec<String>>::new(), "{files:?}");
    }
}
