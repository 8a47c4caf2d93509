//! The files whose change reloads the server (`--reload`), and the state in which they were read.
//! It knows neither threads nor notifications: [`source_watch`](super::source_watch) has both.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

/// Files of one directory tree or pattern, beyond which the rest is not watched: a bound on the
/// time of a scan.
const MAX_FILES: usize = 20_000;
/// Directories deeper than this are not watched: links may form a circle.
const MAX_DEPTH: usize = 32;

const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// The state of a file: its modification time in nanoseconds, and its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) modified_ns: i128,
    pub(super) size: u64,
}

impl Stamp {
    /// The present state; `None` if there is no such file.
    fn of(path: &Path) -> Option<Stamp> {
        std::fs::metadata(path).ok().as_ref().map(Stamp::from)
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Stamp {
        let modified_ns =
            i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Stamp { modified_ns, size: metadata.len() }
    }
}

type Files = BTreeMap<PathBuf, Option<Stamp>>;

/// A set of files that is not known by name: all of a directory, or all that match a pattern.
#[derive(Debug)]
struct Group {
    pattern: Option<Pattern>,
    /// The directory, or that of the pattern in front of its first wildcard.
    root: PathBuf,
    files: Files,
    directories: BTreeSet<PathBuf>,
}

/// The files that are watched.
#[derive(Debug, Default)]
pub(super) struct Sources {
    files: Files,
    groups: Vec<Group>,
}

impl Sources {
    /// Adds a file as it was read; `None` if that is not known, which means as it is now.
    pub(super) fn add_file(&mut self, path: PathBuf, read: Option<Stamp>) {
        // The directory of a link reports no change of its target.
        if let Ok(target) = std::fs::canonicalize(&path)
            && target != path
        {
            self.files
                .entry(target)
                .or_insert_with_key(|target| read.or_else(|| Stamp::of(target)));
        }
        self.files.entry(path).or_insert_with_key(|path| read.or_else(|| Stamp::of(path)));
    }

    /// Adds all files below a directory.
    pub(super) fn add_directory(&mut self, root: PathBuf) {
        self.add_group(Group::new(None, root));
    }

    /// Adds all files that match a pattern, now or later.
    pub(super) fn add_pattern(&mut self, pattern: &Path) {
        let Some(parsed) = pattern.to_str().and_then(|text| Pattern::new(text).ok()) else {
            return;
        };
        self.add_group(Group::new(Some(parsed), literal_part(pattern)));
    }

    /// Adds what an option names: a file, a directory or a pattern.
    pub(super) fn add_named(&mut self, path: PathBuf) {
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => self.add_directory(path),
            Ok(_) => self.add_file(path, None),
            Err(_) => self.add_pattern(&path),
        }
    }

    fn add_group(&mut self, group: Group) {
        let is_known = |other: &Group| other.root == group.root && other.pattern == group.pattern;
        if !self.groups.iter().any(is_known) {
            self.groups.push(group);
        }
    }

    /// The directories in which a change may be one of these files.
    pub(super) fn directories(&self) -> BTreeSet<&Path> {
        let parents = self.files.keys().filter_map(|path| path.parent());
        let groups = self.groups.iter().flat_map(|group| &group.directories);
        parents.chain(groups.map(PathBuf::as_path)).collect()
    }

    /// Whether a path may be one of these files.
    pub(super) fn concern(&self, path: &Path) -> bool {
        self.files.contains_key(path) || self.groups.iter().any(|group| group.may_contain(path))
    }

    /// A file that has changed, appeared or vanished since it was read or since the last call.
    pub(super) fn take_change(&mut self) -> Option<PathBuf> {
        let mut changed = None;
        for (path, known) in &mut self.files {
            let now = Stamp::of(path);
            if *known != now {
                *known = now;
                changed = Some(path.clone());
            }
        }
        for group in &mut self.groups {
            changed = group.take_change().or(changed);
        }
        changed
    }
}

impl Group {
    fn new(pattern: Option<Pattern>, root: PathBuf) -> Group {
        let (files, directories) = (Files::new(), BTreeSet::new());
        let mut group = Group { pattern, root, files, directories };
        group.take_change();
        group
    }

    fn may_contain(&self, path: &Path) -> bool {
        match &self.pattern {
            Some(pattern) => pattern.matches_path_with(path, MATCHING) && !is_litter(path),
            None => path.strip_prefix(&self.root).is_ok_and(|rest| {
                !rest.iter().any(|part| is_hidden(Path::new(part)) || is_litter(Path::new(part)))
            }),
        }
    }

    fn take_change(&mut self) -> Option<PathBuf> {
        let (mut files, mut directories) = (Files::new(), BTreeSet::new());
        self.walk(&self.root, self.max_depth(), &mut files, &mut directories);
        let differs = |path: &&PathBuf| files.get(*path) != self.files.get(*path);
        let changed = files.keys().chain(self.files.keys()).find(differs).cloned();
        (self.files, self.directories) = (files, directories);
        changed
    }

    /// Collects the files, and the directories in which there may be some.
    fn walk(
        &self,
        directory: &Path,
        depth_left: usize,
        files: &mut Files,
        directories: &mut BTreeSet<PathBuf>,
    ) {
        let Ok(entries) = std::fs::read_dir(directory) else { return };
        directories.insert(directory.to_path_buf());
        for path in entries.flatten().map(|entry| entry.path()) {
            if files.len() + directories.len() >= MAX_FILES {
                return;
            }
            // Follows links.
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            if !metadata.is_dir() {
                if self.may_contain(&path) {
                    files.insert(path, Some(Stamp::from(&metadata)));
                }
            } else if depth_left > 0 && !is_hidden(&path) && !is_litter(&path) {
                self.walk(&path, depth_left - 1, files, directories);
            }
        }
    }

    /// How many directories may be between the root and a file.
    fn max_depth(&self) -> usize {
        let parts = |path: &Path| path.components().count();
        match &self.pattern {
            Some(pattern) if !pattern.as_str().contains("**") => {
                parts(Path::new(pattern.as_str())).saturating_sub(parts(&self.root) + 1)
            }
            _ => MAX_DEPTH,
        }
    }
}

fn name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

fn is_hidden(path: &Path) -> bool {
    name(path).starts_with('.')
}

/// Whether a path is one that editors and Python write beside sources, or a directory of packages.
fn is_litter(path: &Path) -> bool {
    let name = name(path);
    let suffixes = ["~", ".pyc", ".pyo", ".swp", ".swo", ".swx", ".tmp", "___jb_tmp___"];
    // vim tests with a file named 4913 whether it may write to the directory.
    matches!(&*name, "__pycache__" | "node_modules" | "4913")
        || (name.starts_with('#') && name.ends_with('#'))
        || suffixes.iter().any(|suffix| name.ends_with(suffix))
}

/// The part of a pattern in front of its first wildcard: a directory.
fn literal_part(pattern: &Path) -> PathBuf {
    let has_wildcard = |part: &std::path::Component<'_>| {
        part.as_os_str().to_string_lossy().contains(['*', '?', '['])
    };
    let literal: PathBuf = pattern.components().take_while(|part| !has_wildcard(part)).collect();
    if literal == pattern {
        literal.parent().map_or(literal.clone(), Path::to_path_buf)
    } else {
        literal
    }
}

/// Whether a path of `--reload-extra-file` names a file or directory, or matches a file.
pub(super) fn matches_any(path: &Path) -> bool {
    if path.exists() {
        return true;
    }
    let mut sources = Sources::default();
    sources.add_pattern(path);
    sources.groups.iter().any(|group| !group.files.is_empty())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A directory with these files.
    fn site(files: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        // The temporary directory may be a link.
        let root = fs::canonicalize(directory.path()).unwrap();
        for file in files {
            write(&root.join(file), "");
        }
        (directory, root)
    }

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn file_that_changes_appears_or_vanishes_is_reported_once() {
        let (_directory, root) = site(&["a.py"]);
        let [a, b] = ["a.py", "b.py"].map(|name| root.join(name));
        let mut sources = Sources::default();
        sources.add_file(a.clone(), None);
        sources.add_file(b.clone(), None);
        assert_eq!(sources.take_change(), None);
        write(&a, "changed");
        assert_eq!(sources.take_change(), Some(a.clone()));
        assert_eq!(sources.take_change(), None);
        write(&b, "");
        assert_eq!(sources.take_change(), Some(b));
        fs::remove_file(&a).unwrap();
        assert_eq!(sources.take_change(), Some(a));
        assert_eq!(sources.take_change(), None);
        assert_eq!(sources.directories(), BTreeSet::from([root.as_path()]));
    }

    #[test]
    fn change_since_the_file_was_read_is_reported() {
        let (_directory, root) = site(&["a.py"]);
        let path = root.join("a.py");
        let read = Stamp::of(&path);
        write(&path, "changed while it was imported");
        let mut sources = Sources::default();
        sources.add_file(path.clone(), read);
        assert_eq!(sources.take_change(), Some(path));
    }

    #[test]
    fn target_of_a_link_is_watched_too() {
        let (_directory, root) = site(&["target/a.py"]);
        std::os::unix::fs::symlink(root.join("target/a.py"), root.join("a.py")).unwrap();
        let mut sources = Sources::default();
        sources.add_file(root.join("a.py"), None);
        let target = root.join("target");
        assert_eq!(sources.directories(), BTreeSet::from([root.as_path(), target.as_path()]));
        assert!(sources.concern(&target.join("a.py")));
    }

    #[test]
    fn directory_has_its_files_but_not_those_of_editors_and_python() {
        let (_directory, root) = site(&["one.html", "sub/two.html", "node_modules/x.js"]);
        let mut sources = Sources::default();
        sources.add_named(root.clone());
        for litter in [
            ".one.html.swp",
            "one.html~",
            "#one.html#",
            ".#one.html",
            "4913",
            "one.cpython-313.pyc",
            "__pycache__/one.py",
            "node_modules/x.js",
            ".git/index",
        ] {
            write(&root.join(litter), "changed");
            assert_eq!(sources.take_change(), None, "{litter}");
            assert!(!sources.concern(&root.join(litter)), "{litter}");
        }
        for path in ["one.html", "sub/two.html", "new/deeper/three.html"] {
            assert!(sources.concern(&root.join(path)));
            write(&root.join(path), "changed");
            assert_eq!(sources.take_change(), Some(root.join(path)));
        }
        assert!(sources.directories().contains(root.join("new/deeper").as_path()));
    }

    #[test]
    fn pattern_has_the_files_that_match() {
        let (_directory, root) = site(&["a/one.html", "a/b/two.html", "a/note.txt"]);
        for (pattern, path, expected) in [
            ("a/*.html", "a/one.html", true),
            ("a/*.html", "a/three.html", true),
            ("a/*.html", "a/b/two.html", false),
            ("a/*.html", "a/note.txt", false),
            ("a/**/*.html", "a/b/two.html", true),
            ("a/*/*.html", "a/b/two.html", true),
            ("*/note.???", "a/note.txt", true),
            ("a/*", "a/one.html~", false),
        ] {
            let mut sources = Sources::default();
            sources.add_named(root.join(pattern));
            write(&root.join(path), pattern);
            let changed = sources.take_change();
            assert_eq!(changed.is_some(), expected, "{pattern} {path}");
            assert_eq!(sources.concern(&root.join(path)), expected, "{pattern} {path}");
            let _ = fs::remove_file(root.join("a/three.html"));
        }
    }

    #[test]
    fn option_matches_files_directories_and_patterns() {
        let (_directory, root) = site(&["a/one.html", "[x].html"]);
        for (named, expected) in [
            ("a", true),
            ("a/one.html", true),
            ("a/*.html", true),
            ("**/*.html", true),
            ("[x].html", true),
            ("a/*.txt", false),
            ("b", false),
            ("b/*.html", false),
            ("[", false),
        ] {
            assert_eq!(matches_any(&root.join(named)), expected, "{named}");
        }
    }

    #[test]
    fn circle_of_links_is_not_followed_forever() {
        let (_directory, root) = site(&["a/one.html"]);
        std::os::unix::fs::symlink(&root, root.join("a/circle")).unwrap();
        let mut sources = Sources::default();
        sources.add_directory(root);
        assert!(sources.take_change().is_none());
    }
}
