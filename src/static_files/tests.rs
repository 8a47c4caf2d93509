//! Real files: what is opened below a directory, and what is not.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::symlink;
use std::path::Path;

use super::lookup::{Found, OpenFile, find};
use super::root::{Lookup, Root, is_missing};
use super::sendfile::{NamedFile, SendfileRoots};
use super::target;

/// A directory `root` with files and links, beside a secret.
fn make_tree(top: &Path) -> Root {
    let root = top.join("root");
    fs::create_dir_all(root.join("dir/sub")).unwrap();
    fs::create_dir(top.join("root2")).unwrap();
    for (name, content) in [
        ("secret", "secret"),
        ("root2/secret", "secret"),
        ("root/a.txt", "a"),
        ("root/dir/b.txt", "b"),
        ("root/dir/index.html", "index"),
        ("root/dir/sub/c.txt", "c"),
        ("root/v.css", "v"),
        ("root/v.css.gz", "gz"),
        ("root/v.css.br", "br"),
        ("root/only.js.gz", "gz"),
    ] {
        fs::write(top.join(name), content).unwrap();
    }
    let absolute = |name: &str| root.join(name);
    for (link, to) in [
        ("to-a", Path::new("a.txt").to_owned()),
        ("to-dir", "dir".into()),
        ("dir/up-a", "../a.txt".into()),
        ("dir/sub/up-up", "../../dir/b.txt".into()),
        ("absolute-a", absolute("a.txt")),
        ("absolute-dir", absolute("dir")),
        ("chain", "to-a".into()),
        ("out", "../secret".into()),
        ("out-dir", "..".into()),
        ("out-and-in", "../root/a.txt".into()),
        ("absolute-out", top.join("secret")),
        ("sibling", absolute("../root2/secret")),
        ("prefix", top.join("root2/secret")),
        ("etc", "/etc".into()),
        ("dir/out", "../../secret".into()),
        ("loop", "loop".into()),
        ("loop1", "loop2".into()),
        ("loop2", "loop1".into()),
        ("broken", "missing".into()),
        ("v.css.zst", "../secret".into()),
    ] {
        symlink(to, root.join(link)).unwrap();
    }
    Root::open(&root).unwrap()
}

fn content(opened: io::Result<fs::File>) -> Result<String, bool> {
    match opened {
        Ok(mut file) => {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            Ok(text)
        }
        Err(error) => Err(is_missing(&error)),
    }
}

#[test]
fn files_and_links_below_the_directory_are_opened_by_both_ways() {
    let top = tempfile::tempdir().unwrap();
    let root = make_tree(top.path());
    for (name, expected) in [
        ("a.txt", Some("a")),
        ("a.txt/", None),
        ("to-a/", None),
        ("dir/b.txt", Some("b")),
        ("dir/sub/c.txt", Some("c")),
        ("to-a", Some("a")),
        ("chain", Some("a")),
        ("to-dir/b.txt", Some("b")),
        ("to-dir/sub/up-up", Some("b")),
        ("dir/up-a", Some("a")),
        ("absolute-a", Some("a")),
        ("absolute-dir/b.txt", Some("b")),
        ("absolute-dir/sub/up-up", Some("b")),
        ("out", None),
        ("out-dir/secret", None),
        ("out-dir/root/a.txt", None),
        ("out-and-in", None),
        ("absolute-out", None),
        ("sibling", None),
        ("prefix", None),
        ("etc/passwd", None),
        ("dir/out", None),
        ("loop", None),
        ("loop1", None),
        ("broken", None),
        ("missing", None),
        ("a.txt/b", None),
        ("../secret", None),
        ("dir/../../secret", None),
    ] {
        let expected = expected.map(str::to_owned).ok_or(true);
        let opened = root.open_file(name.as_bytes(), Lookup::Blocking);
        assert_eq!(content(opened), expected, "{name}");
        assert_eq!(content(root.open_by_steps(name.as_bytes())), expected, "{name} by steps");
    }
}

#[test]
fn named_pipe_is_opened_without_waiting_and_is_not_served() {
    let top = tempfile::tempdir().unwrap();
    let root = make_tree(top.path());
    let (pipe, mode) = (top.path().join("root/pipe"), rustix::fs::Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    for opened in [root.open_file(b"pipe", Lookup::Blocking), root.open_by_steps(b"pipe")] {
        assert!(OpenFile::new(opened.unwrap()).unwrap().is_none());
    }
    let name = target::parse(b"/pipe").unwrap();
    assert!(matches!(find(&root, &name, None, Lookup::Blocking), Ok(Found::Missing)));
}

#[test]
fn lookup_finds_variants_and_the_index() {
    let top = tempfile::tempdir().unwrap();
    let root = make_tree(top.path());
    for (path, index, expected) in [
        ("/a.txt", None, "a.txt"),
        ("/v.css", None, "v.css br gz"),
        ("/only.js", None, "missing"),
        ("/only.js.gz", None, "only.js.gz"),
        ("/a.txt/", None, "missing"),
        ("/a.txt/", Some("index.html"), "missing"),
        ("/dir", None, "missing"),
        ("/dir/", None, "missing"),
        ("/dir", Some("index.html"), "directory"),
        ("/dir/", Some("index.html"), "dir/index.html"),
        ("/to-dir", Some("index.html"), "directory"),
        ("/to-dir/", Some("index.html"), "to-dir/index.html"),
        ("/dir/sub/", Some("index.html"), "missing"),
        ("", Some("index.html"), "directory"),
        ("", None, "missing"),
        ("/", Some("a.txt"), "a.txt"),
        ("/", Some("index.html"), "missing"),
        ("/out-dir", Some("index.html"), "missing"),
    ] {
        let name = target::parse(path.as_bytes()).unwrap();
        let found = match find(&root, &name, index, Lookup::Blocking).unwrap() {
            Found::Missing => "missing".to_owned(),
            Found::Directory => "directory".to_owned(),
            Found::File(file) => {
                let mut text = String::from_utf8(file.name.clone()).unwrap();
                for (variant, extension) in file.variants.iter().zip([" br", " zst", " gz"]) {
                    text += variant.as_ref().map_or("", |_| extension);
                }
                text
            }
        };
        assert_eq!(found, expected, "{path} {index:?}");
    }
}

#[test]
fn lookup_in_the_cache_fails_rather_than_waits() {
    let top = tempfile::tempdir().unwrap();
    let root = make_tree(top.path());
    // These were just created, so their names are cached.
    assert_eq!(content(root.open_file(b"a.txt", Lookup::Cached)), Ok("a".to_owned()));
    // The target of an absolute link is resolved by steps, which may wait.
    let error = root.open_file(b"absolute-a", Lookup::Cached).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn named_files_are_found_below_the_roots_only() {
    let top = tempfile::tempdir().unwrap();
    let root = make_tree(top.path());
    drop(root);
    let link = top.path().join("link");
    symlink("root", &link).unwrap();
    let roots = SendfileRoots::open(&[link]).unwrap().unwrap();
    let top = top.path().canonicalize().unwrap();
    for (path, expected) in [
        ("link/a.txt", "found"),
        ("root/a.txt", "found"),
        ("root//dir/./b.txt", "found"),
        ("root/dir/../a.txt", "found"),
        ("root/absolute-a", "found"),
        ("root/missing", "missing"),
        ("root/dir", "missing"),
        ("root", "missing"),
        ("root/", "missing"),
        ("secret", "outside"),
        ("root2/secret", "outside"),
        ("root/../secret", "outside"),
        ("root/out", "outside"),
        ("root/absolute-out", "outside"),
        ("", "outside"),
    ] {
        let full = format!("{}/{path}", top.display());
        let found = match roots.find(full.as_bytes()) {
            NamedFile::Found(_) => "found",
            NamedFile::Missing => "missing",
            NamedFile::Outside => "outside",
            NamedFile::Failed(error) => panic!("{path}: {error}"),
        };
        assert_eq!(found, expected, "{path}");
    }
    for path in ["", "a.txt", "root/a.txt", "/etc/passwd", "/"] {
        assert!(matches!(roots.find(path.as_bytes()), NamedFile::Outside), "{path}");
    }
}

#[test]
fn directory_that_does_not_exist_is_an_error() {
    let top = tempfile::tempdir().unwrap();
    let missing = Root::open(&top.path().join("missing")).unwrap_err().to_string();
    assert!(missing.starts_with("cannot serve the directory /"), "{missing}");
    fs::write(top.path().join("file"), "").unwrap();
    assert!(Root::open(&top.path().join("file")).is_err());
}
