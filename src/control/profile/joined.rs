//! The profiles of several workers, joined, and the formats in which they are written.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::control::client::Failure;
use crate::control::inspection::{Frame, ProfileReport};
use crate::control::table::{Align, Table, counted, printable};

/// Functions in the table.
const TABLE_ROWS: usize = 20;

/// The format of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::control) enum Format {
    /// A flame graph.
    Svg,
    /// One line for each stack.
    Collapsed,
    /// For <https://www.speedscope.app>.
    Speedscope,
}

impl Format {
    /// By the extension of a file.
    ///
    /// # Errors
    /// A sentence that names the extensions.
    pub(in crate::control) fn of(path: &Path) -> Result<Format, String> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("svg") => Ok(Format::Svg),
            Some("txt" | "folded" | "collapsed") => Ok(Format::Collapsed),
            Some("json") => Ok(Format::Speedscope),
            _ => Err(format!(
                "'{}' has no known extension: write .svg for a flame graph, .txt or .folded for \
                 collapsed stacks, or .json for speedscope",
                path.display()
            )),
        }
    }
}

/// Profiles, joined.
#[derive(Debug, Default)]
pub(super) struct Joined {
    frames: Vec<Frame>,
    numbers: HashMap<Frame, usize>,
    /// By thread and frames, the outermost first.
    stacks: HashMap<(String, Vec<usize>), u64>,
    workers: usize,
    samples: u64,
    seconds: f64,
}

impl Joined {
    pub(super) fn add(&mut self, report: &ProfileReport) -> Result<(), Failure> {
        let nonsense = || Failure::Refused(format!("worker {} has sent nonsense", report.pid));
        let numbers: Vec<usize> = report.frames.iter().map(|frame| self.number(frame)).collect();
        for stack in &report.stacks {
            let frames = stack.frames.iter().map(|&number| numbers.get(number).copied());
            let frames = frames.collect::<Option<Vec<_>>>().ok_or_else(nonsense)?;
            let count = self.stacks.entry((stack.thread.clone(), frames)).or_default();
            *count = count.saturating_add(stack.count);
        }
        self.workers += 1;
        self.samples += report.samples;
        self.seconds = self.seconds.max(report.seconds);
        Ok(())
    }

    fn number(&mut self, frame: &Frame) -> usize {
        *self.numbers.entry(frame.clone()).or_insert_with(|| {
            self.frames.push(frame.clone());
            self.frames.len() - 1
        })
    }

    pub(super) fn described(&self) -> String {
        format!(
            "{} of {}, {}",
            counted(self.samples, "sample"),
            counted(self.workers as u64, "worker"),
            counted(self.stacks.len() as u64, "different stack")
        )
    }

    /// The stacks, the most frequent first.
    fn sorted(&self) -> Vec<(&str, &[usize], u64)> {
        let stacks = self.stacks.iter();
        let mut stacks: Vec<_> = stacks
            .map(|((thread, frames), count)| (thread.as_str(), frames.as_slice(), *count))
            .collect();
        stacks.sort_by(|one, other| (other.2, one.0, one.1).cmp(&(one.2, other.0, other.1)));
        stacks
    }

    pub(super) fn render(&self, format: Format) -> io::Result<Vec<u8>> {
        match format {
            Format::Collapsed => Ok((self.collapsed().join("\n") + "\n").into_bytes()),
            Format::Speedscope => Ok(self.speedscope().to_string().into_bytes()),
            Format::Svg => self.flame_graph(),
        }
    }

    /// `requests;view (/srv/shop.py:12);query (/srv/shop.py:40) 17`
    fn collapsed(&self) -> Vec<String> {
        let line = |(thread, frames, count): (&str, &[usize], u64)| {
            let mut line = folded(thread);
            for &number in frames {
                let Frame { function, file, line: first } = &self.frames[number];
                let _ = write!(line, ";{}", folded(&format!("{function} ({file}:{first})")));
            }
            format!("{line} {count}")
        };
        self.sorted().into_iter().map(line).collect()
    }

    fn flame_graph(&self) -> io::Result<Vec<u8>> {
        let mut options = inferno::flamegraph::Options::default();
        options.title = format!("rustwsgi: {}", self.described());
        options.count_name = "samples".to_owned();
        options.deterministic = true;
        let lines = self.collapsed();
        let mut svg = Vec::new();
        let lines = match lines.is_empty() {
            // A profile without stacks is a valid one.
            true => vec!["no Python code has run 1"],
            false => lines.iter().map(String::as_str).collect(),
        };
        inferno::flamegraph::from_lines(&mut options, lines, &mut svg)?;
        Ok(svg)
    }

    /// A file of speedscope. <https://www.speedscope.app/file-format-schema.json>
    fn speedscope(&self) -> Value {
        let mut frames: Vec<Value> = self
            .frames
            .iter()
            .map(|frame| json!({"name": frame.function, "file": frame.file, "line": frame.line}))
            .collect();
        let mut threads: Vec<&str> = Vec::new();
        let (mut samples, mut weights) = (Vec::new(), Vec::new());
        for (thread, stack, count) in self.sorted() {
            let at = threads.iter().position(|known| *known == thread).unwrap_or_else(|| {
                threads.push(thread);
                threads.len() - 1
            });
            let root = self.frames.len() + at;
            samples.push(std::iter::once(root).chain(stack.iter().copied()).collect::<Vec<_>>());
            weights.push(count);
        }
        frames.extend(threads.iter().map(|name| json!({ "name": name })));
        json!({
            "$schema": "https://www.speedscope.app/file-format-schema.json",
            "exporter": format!("rustwsgi {}", env!("CARGO_PKG_VERSION")),
            "name": format!("rustwsgi: {}", self.described()),
            "activeProfileIndex": 0,
            "shared": {"frames": frames},
            "profiles": [{
                "type": "sampled",
                "name": "wall clock",
                "unit": "none",
                "startValue": 0,
                "endValue": weights.iter().sum::<u64>(),
                "samples": samples,
                "weights": weights,
            }],
        })
    }

    /// For each function, in how many stacks it is innermost, and in how many it is at all; the
    /// first functions. Its line is the one that was innermost most often.
    fn functions(&self) -> (u64, Vec<(&Frame, u64, u64)>) {
        let mut functions: HashMap<(&str, &str), Counted<'_>> = HashMap::new();
        let mut sum = 0;
        for (_, stack, count) in self.sorted() {
            sum += count;
            let mut seen = Vec::new();
            for (at, &number) in stack.iter().enumerate() {
                let frame = &self.frames[number];
                let key = (frame.file.as_str(), frame.function.as_str());
                let function = functions.entry(key).or_insert_with(|| Counted::new(frame));
                if !seen.contains(&key) {
                    seen.push(key);
                    function.total += count;
                }
                if at + 1 == stack.len() {
                    function.own += count;
                    let of_line = function.lines.entry(frame.line).or_default();
                    *of_line += count;
                    if *of_line > function.most {
                        (function.most, function.frame) = (*of_line, frame);
                    }
                }
            }
        }
        let mut functions: Vec<_> = functions
            .into_values()
            .map(|function| (function.frame, function.own, function.total))
            .filter(|(_, own, _)| *own > 0)
            .collect();
        functions.sort_by_key(|&(frame, own, total)| {
            (std::cmp::Reverse((own, total)), &frame.file, &frame.function)
        });
        (sum, functions)
    }

    pub(super) fn table(&self) -> String {
        use Align::{Left, Right};
        let (sum, functions) = self.functions();
        let mut text = format!("{} in {:.1} s\n", self.described(), self.seconds);
        if functions.is_empty() {
            return text + "No Python code has run: no request, and no other thread.\n";
        }
        let share = |count: u64| format!("{:.1}%", count as f64 * 100.0 / sum.max(1) as f64);
        let mut table =
            Table::new([("SELF", Right), ("TOTAL", Right), ("FUNCTION", Left), ("FILE", Left)]);
        for (frame, own, total) in functions.iter().take(TABLE_ROWS) {
            let file = format!("{}:{}", printable(&frame.file), frame.line);
            table.add([share(*own), share(*total), printable(&frame.function), file]);
        }
        let _ = write!(text, "\n{}", table.render());
        if functions.len() > TABLE_ROWS {
            let _ = writeln!(text, "and {} more; -o FILE has all", functions.len() - TABLE_ROWS);
        }
        text
    }

    pub(super) fn summary(&self, notes: &[String]) -> Value {
        let stacks = self.sorted().into_iter().map(|(thread, stack, count)| {
            let frames: Vec<_> = stack.iter().map(|&number| &self.frames[number]).collect();
            json!({"thread": thread, "count": count, "frames": frames})
        });
        json!({
            "workers": self.workers,
            "seconds": self.seconds,
            "samples": self.samples,
            "notes": notes,
            "stacks": stacks.collect::<Vec<_>>(),
        })
    }
}

/// A function, counted.
struct Counted<'a> {
    frame: &'a Frame,
    own: u64,
    total: u64,
    /// By line, in how many stacks it is innermost.
    lines: HashMap<u32, u64>,
    /// The largest of them.
    most: u64,
}

impl<'a> Counted<'a> {
    fn new(frame: &'a Frame) -> Counted<'a> {
        Counted { frame, own: 0, total: 0, lines: HashMap::new(), most: 0 }
    }
}

/// A name in a line of collapsed stacks, where `;` and line feeds have a meaning.
fn folded(name: &str) -> String {
    printable(name).replace(';', ",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::inspection::SampledStack;

    fn report(pid: u32) -> ProfileReport {
        let frame = |function: &str, file: &str, line| Frame {
            function: function.to_owned(),
            file: file.to_owned(),
            line,
        };
        let stack = |count, frames: &[usize]| SampledStack {
            count,
            thread: "requests".to_owned(),
            frames: frames.to_vec(),
        };
        ProfileReport {
            pid,
            seconds: 1.0,
            samples: 10,
            note: None,
            frames: vec![frame("app", "/a;b.py", 1), frame("view\n", "/c.py", 2)],
            stacks: vec![stack(7, &[0, 1]), stack(3, &[0]), stack(1, &[0, 1, 0])],
        }
    }

    fn joined() -> Joined {
        let mut profile = Joined::default();
        profile.add(&report(1)).unwrap();
        let mut other = report(2);
        other.frames.reverse();
        other.stacks = vec![SampledStack { frames: vec![1, 0], ..other.stacks[0].clone() }];
        profile.add(&other).unwrap();
        profile
    }

    #[test]
    fn stacks_of_workers_are_joined_by_their_functions() {
        let expected = [
            "requests;app (/a,b.py:1);view\\n (/c.py:2) 14",
            "requests;app (/a,b.py:1) 3",
            "requests;app (/a,b.py:1);view\\n (/c.py:2);app (/a,b.py:1) 1",
        ];
        assert_eq!(joined().collapsed(), expected);
    }

    #[test]
    fn table_has_own_and_total_shares() {
        let table = joined().table();
        let rows: Vec<_> = table.lines().skip(3).collect();
        assert_eq!(
            rows,
            ["77.8%   83.3%  view\\n    /c.py:2", "22.2%  100.0%  app       /a;b.py:1",]
        );
        assert!(Joined::default().table().contains("No Python code has run"));
    }

    #[test]
    fn each_format_has_the_functions() {
        for (name, needle) in [
            ("a.svg", "view\\n (/c.py:2)"),
            ("a.txt", "requests;app"),
            ("a.folded", "requests;app"),
            ("a.json", "\"weights\":[14,3,1]"),
        ] {
            let format = Format::of(Path::new(name)).unwrap();
            let text = String::from_utf8(joined().render(format).unwrap()).unwrap();
            assert!(text.contains(needle), "{name}: {text}");
            assert!(Joined::default().render(format).is_ok());
        }
        let speedscope = joined().speedscope();
        assert_eq!(speedscope["profiles"][0]["samples"][0], json!([2, 0, 1]));
        assert_eq!(speedscope["shared"]["frames"][2]["name"], "requests");
        assert!(matches!(Format::of(Path::new("A.SVG")), Ok(Format::Svg)));
        assert!(Format::of(Path::new("a.png")).unwrap_err().contains(".svg"));
    }

    #[test]
    fn numbers_of_frames_that_do_not_exist_are_refused() {
        let mut nonsense = report(9);
        nonsense.frames.pop();
        let failure = Joined::default().add(&nonsense).unwrap_err();
        assert_eq!(failure.to_string(), "worker 9 has sent nonsense");
    }
}
