//! The CPUs that this process may use: those of its affinity, and as many as the CPU quota of its
//! control groups pays for. [sched_setaffinity(2), cgroups(7)]
//!
//! `std::thread::available_parallelism` knows both as well, but rounds a quota down: of 1.9 CPUs
//! one worker would leave nearly half unused.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The CPUs that a process may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cpus {
    /// The number of CPUs of its affinity; at least 1.
    pub(crate) allowed: usize,
    /// The processor time that it may use, in CPUs; `None` is no quota.
    pub(crate) quota: Option<f64>,
}

impl Cpus {
    /// Those of this process.
    pub(crate) fn of_this_process() -> Cpus {
        Cpus { allowed: allowed(), quota: quota(Path::new("/")) }
    }

    /// How many can be busy at a time, a part of one included; at least 1.
    pub(crate) fn usable(&self) -> usize {
        let paid = self.quota.map_or(usize::MAX, |cpus| cpus.ceil() as usize);
        self.allowed.min(paid).max(1)
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.allowed == 1 { "" } else { "s" };
        write!(f, "{} CPU{plural} allowed", self.allowed)?;
        self.quota.map_or(Ok(()), |quota| write!(f, ", quota {:.2}", quota))
    }
}

#[cfg(target_os = "linux")]
fn allowed() -> usize {
    // It fails with more CPUs than its set has room for.
    let count = rustix::thread::sched_getaffinity(None).map(|set| set.count() as usize);
    count.ok().filter(|&count| count > 0).unwrap_or_else(online)
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> usize {
    online()
}

fn online() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The versions of control groups, which may be mounted side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// The smallest CPU quota of this process's control groups, in a file system that is mounted at
/// `root`.
fn quota(root: &Path) -> Option<f64> {
    let groups = fs::read(root.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read(root.join("proc/self/mountinfo")).ok()?;
    let mounts: Vec<Mount> = lines(&mounts).filter_map(Mount::parse).collect();
    let quotas = lines(&groups).filter_map(parse_group).filter_map(|(version, group)| {
        let mounts = mounts.iter().filter(|mount| mount.version == version);
        // The first one that shows the group: others may show those of another container.
        let (mount, below) = mounts
            .clone()
            .find_map(|mount| Some((mount, mount.find(&group)?)))
            // The group is outside of what is mounted here, which is the next best.
            .or_else(|| Some((mounts.clone().next()?, PathBuf::new())))?;
        quota_of(&root.join(&mount.point), &below, version)
    });
    quotas.min_by(f64::total_cmp)
}

/// The smallest quota of a group and the groups above it. `below` is its path below `top`.
fn quota_of(top: &Path, below: &Path, version: Version) -> Option<f64> {
    let quotas = below.ancestors().filter_map(|path| read_quota(&top.join(path), version));
    quotas.min_by(f64::total_cmp)
}

/// The quota of one group. `None` if it has none.
fn read_quota(group: &Path, version: Version) -> Option<f64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let [quota, period] = match version {
        // "max 100000", or microseconds in a period. [cgroup-v2.rst, cpu.max]
        Version::V2 => {
            let text = read("cpu.max")?;
            let mut words = text.split_whitespace().map(str::to_owned);
            [words.next()?, words.next()?]
        }
        // -1 is no quota. [sched-bwc.rst]
        Version::V1 => [read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?],
    };
    let microseconds = |text: &str| text.trim().parse::<u64>().ok().filter(|&time| time > 0);
    Some(microseconds(&quota)? as f64 / microseconds(&period)? as f64)
}

/// A line of /proc/self/cgroup: the group that limits CPUs. [cgroups(7)]
fn parse_group(line: &[u8]) -> Option<(Version, PathBuf)> {
    let mut fields = line.splitn(3, |&byte| byte == b':');
    let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let version = match (number, controllers) {
        (b"0", b"") => Version::V2,
        (_, controllers) if has_cpu(controllers) => Version::V1,
        _ => return None,
    };
    Some((version, PathBuf::from(OsStr::from_bytes(path))))
}

fn has_cpu(controllers: &[u8]) -> bool {
    controllers.split(|&byte| byte == b',').any(|name| name == b"cpu")
}

/// Where control groups are mounted.
#[derive(Debug)]
struct Mount {
    version: Version,
    /// The group that is shown at the mount point.
    root: PathBuf,
    /// The mount point, without its first slash.
    point: PathBuf,
}

impl Mount {
    /// A line of /proc/self/mountinfo. [proc_pid_mountinfo(5)]
    fn parse(line: &[u8]) -> Option<Mount> {
        let mut fields = line.split(|&byte| byte == b' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        // Optional fields are in between.
        fields.find(|field| *field == b"-")?;
        let (kind, _, options) = (fields.next()?, fields.next()?, fields.next()?);
        let version = match kind {
            b"cgroup2" => Version::V2,
            b"cgroup" if has_cpu(options) => Version::V1,
            _ => return None,
        };
        let point = point.strip_prefix(b"/")?;
        Some(Mount { version, root: unescape(root), point: unescape(point) })
    }

    /// The path of a group below the mount point.
    fn find(&self, group: &Path) -> Option<PathBuf> {
        let below = group.strip_prefix(&self.root).ok()?;
        let is_plain = |part| matches!(part, std::path::Component::Normal(_));
        below.components().all(is_plain).then(|| below.to_path_buf())
    }
}

/// Spaces, tabs, line ends and backslashes are written as three octal digits.
fn unescape(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, following @ ..] = rest {
        let escaped = following.first_chunk::<3>().filter(|_| *byte == b'\\');
        let digits = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
        let value = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(value.unwrap_or(*byte));
        rest = &following[if value.is_some() { 3 } else { 0 }..];
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests;
