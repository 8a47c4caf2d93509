//! Parses what `faulthandler` writes of the threads of a process.

use crate::control::Frame;

/// A thread in a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DumpedThread {
    /// Python's number of the thread; 0 if the thread has written its own stack only.
    pub(super) ident: u64,
    /// It has written the dump.
    pub(super) is_current: bool,
    /// The innermost first.
    pub(super) frames: Vec<Frame>,
}

/// The threads of a dump. Lines of other kinds are left out.
pub(super) fn parse(text: &str) -> Vec<DumpedThread> {
    let mut threads: Vec<DumpedThread> = Vec::new();
    for line in text.lines() {
        if let Some(thread) = thread(line) {
            threads.push(thread);
        } else if let (Some(frame), Some(thread)) = (frame(line), threads.last_mut()) {
            thread.frames.push(frame);
        }
    }
    threads
}

/// `Thread 0x00007f3b2d (most recent call first):`, with a name in brackets since Python 3.14;
/// `Current thread 0x…` is the one that writes, and so is that of a stack without a number.
fn thread(line: &str) -> Option<DumpedThread> {
    if line.starts_with("Stack (most recent call first)") {
        return Some(DumpedThread { ident: 0, is_current: true, frames: Vec::new() });
    }
    let (kind, rest) = line.split_once("hread 0x")?;
    let is_current = match kind {
        "T" => false,
        "Current t" => true,
        _ => return None,
    };
    let digits = rest.split_once(' ')?.0;
    let ident = u64::from_str_radix(digits, 16).ok()?;
    Some(DumpedThread { ident, is_current, frames: Vec::new() })
}

/// `  File "/srv/shop.py", line 12 in view`
fn frame(line: &str) -> Option<Frame> {
    let rest = line.strip_prefix("  File ")?;
    let (file, rest) = rest.rsplit_once(", line ")?;
    let (number, function) = rest.split_once(" in ")?;
    let file = file.strip_prefix('"').and_then(|file| file.strip_suffix('"')).unwrap_or(file);
    Some(Frame {
        function: function.to_owned(),
        file: file.to_owned(),
        line: number.parse().unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_and_frames_are_found() {
        let text = "Thread 0x00007f0000000640 [rustwsgi-0] (most recent call first):\n  \
                    File \"/a, line 1 in b.py\", line 12 in view\n  File ???, line ??? in ???\n  \
                    ...\n\nCurrent thread 0x00007f0000000780 (most recent call first):\n  \
                    Garbage-collecting\n  File \"/x.py\", line 3 in <module>\n\n\
                    Thread 0x1 (most recent call first):\n  <no Python frame>\n";
        let frame = |function: &str, file: &str, line| Frame {
            function: function.to_owned(),
            file: file.to_owned(),
            line,
        };
        let expected = [
            DumpedThread {
                ident: 0x7f00_0000_0640,
                is_current: false,
                frames: vec![frame("view", "/a, line 1 in b.py", 12), frame("???", "???", 0)],
            },
            DumpedThread {
                ident: 0x7f00_0000_0780,
                is_current: true,
                frames: vec![frame("<module>", "/x.py", 3)],
            },
            DumpedThread { ident: 1, is_current: false, frames: Vec::new() },
        ];
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn stack_of_the_thread_itself_has_no_number() {
        let text = "Stack (most recent call first):\n  File \"/a.py\", line 1 in f\n";
        let [thread] = &parse(text)[..] else { panic!("one thread") };
        assert_eq!((thread.ident, thread.is_current, thread.frames.len()), (0, true, 1));
    }

    #[test]
    fn other_text_is_left_out() {
        for text in
            ["", "  File \"a\", line 1 in f\n", "Thread 0xzz (x):\n", "Thread 0x1\n", "hread 0x"]
        {
            assert_eq!(parse(text), [], "{text}");
        }
    }
}
