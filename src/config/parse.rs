//! Parsers of option values: seconds, sizes, counts, levels.
//!
//! clap calls them, so that an invalid value is reported with the name of its option before
//! anything starts. The upper bounds are far beyond use; they keep sums of values from overflowing
//! later.

use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::bind::Bind;
use super::tls::CertReqs;
use crate::http1::Underscores;
use crate::observe::{Exclusion, Format};

/// One year in seconds; a longer timeout is a mistake.
const MAX_SECONDS: f64 = 365.0 * 86_400.0;

/// A number of seconds, with decimals. What 0 means depends on the option.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 =
        text.parse().map_err(|_| "not a number of seconds, such as 30 or 0.5".to_owned())?;
    if !(0.0..=MAX_SECONDS).contains(&value) {
        return Err("not between 0 and 31536000 seconds (one year)".to_owned());
    }
    if value > 0.0 && value < 0.001 {
        return Err("less than 0.001 seconds; 0 has a special meaning".to_owned());
    }
    Duration::try_from_secs_f64(value).map_err(|error| error.to_string())
}

/// A whole number from `LOW` to `HIGH`.
pub(super) fn whole_number<T: TryFrom<u64>, const LOW: u64, const HIGH: u64>(
    text: &str,
) -> Result<T, String> {
    let wrong = || match HIGH {
        u64::MAX => "not a whole number".to_owned(),
        _ => format!("not a whole number from {LOW} to {HIGH}"),
    };
    // The parser of the standard library would take `+8` as well.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number: Option<u64> = text.parse().ok().filter(|number| digits && *number >= LOW);
    number
        .filter(|&number| number <= HIGH)
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(wrong)
}

/// The path of a health check, as requests have it.
pub(super) fn health_path(text: &str) -> Result<String, String> {
    let is_path = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#');
    match text.starts_with('/') && text.bytes().all(is_path) {
        true => Ok(text.to_owned()),
        false => Err("not a path as in a URL, such as /healthz".to_owned()),
    }
}

/// A number of bytes, with an optional suffix: `k`, `m` or `g` (powers of 1024).
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes() {
        [.., b'k' | b'K'] => (&text[..text.len() - 1], 10),
        [.., b'm' | b'M'] => (&text[..text.len() - 1], 20),
        [.., b'g' | b'G'] => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("not a number of bytes, such as 8192, 64k, 10m or 1g".to_owned());
    }
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|&bytes| bytes <= i64::MAX as u64)
        .ok_or_else(|| "too many bytes".to_owned())
}

/// The size of a buffer in memory: at most 1 GiB.
pub(super) fn buffer_size(text: &str) -> Result<usize, String> {
    bounded_size(text, 1 << 30, "1g")
}

/// The size of a part of a request head, which is always in memory: at most 16 MiB.
pub(super) fn head_size(text: &str) -> Result<usize, String> {
    bounded_size(text, 16 << 20, "16m")
}

/// The size of a whole request head: as [`head_size`], but at least 1 KiB.
pub(super) fn whole_head_size(text: &str) -> Result<usize, String> {
    match head_size(text)? {
        bytes if bytes < 1024 => {
            Err("less than 1k, which is too small for the requests of any browser".to_owned())
        }
        bytes => Ok(bytes),
    }
}

fn bounded_size(text: &str, most: u64, shown: &str) -> Result<usize, String> {
    match usize::try_from(size(text)?) {
        Ok(bytes) if bytes as u64 <= most => Ok(bytes),
        _ => Err(format!("more than {shown}")),
    }
}

/// A log level as in gunicorn, in upper or lower case.
///
/// The `log` crate has no level above error, so `critical` logs errors as well: an extra line is
/// better than a silent failure.
pub(super) fn level(text: &str) -> Result<LevelFilter, String> {
    match text.to_ascii_lowercase().as_str() {
        "debug" | "trace" => Ok(LevelFilter::Debug),
        "info" => Ok(LevelFilter::Info),
        "warning" | "warn" => Ok(LevelFilter::Warn),
        "error" | "critical" => Ok(LevelFilter::Error),
        _ => Err("not one of debug, info, warning, error, critical".to_owned()),
    }
}

/// A format of the access log. It is compiled only to validate it.
pub(super) fn access_format(text: &str) -> Result<String, String> {
    match Format::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A regular expression of paths. It is compiled only to validate it.
pub(super) fn path_pattern(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("an empty expression, which every path matches".to_owned());
    }
    match Exclusion::new([text]) {
        Ok(_) => Ok(text.to_owned()),
        Err(reason) => Err(format!("{text:?} is not a regular expression: {reason}")),
    }
}

/// `KEY=VALUE`; the value may be empty and may contain `=`.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        _ if text.contains('\0') => Err("contains a NUL character".to_owned()),
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("not of the form KEY=VALUE".to_owned()),
    }
}

/// The name of a header field, in capitals; `*`, or nothing.
pub(super) fn forwarder_header(text: &str) -> Result<String, String> {
    let name = text.trim().to_ascii_uppercase();
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if name == "*" || is_name {
        Ok(name)
    } else {
        Err(format!("{text:?} is not the name of a header field"))
    }
}

/// A file mode mask in octal, as `022` or `0o22`.
pub(super) fn umask(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mask) if mask <= 0o777 && !digits.starts_with('+') => Ok(mask),
        _ => Err("not an octal number from 0 to 777, such as 022".to_owned()),
    }
}

/// The permissions of a unix socket, in octal.
pub(super) fn socket_mode(text: &str) -> Result<u32, String> {
    umask(text).map_err(|_| "not an octal number from 0 to 777, such as 660".to_owned())
}

/// The path of a unix socket.
pub(super) fn socket_path(text: &str) -> Result<PathBuf, String> {
    match format!("unix:{}", text.strip_prefix("unix:").unwrap_or(text)).parse() {
        Ok(Bind::Unix(path)) => Ok(path),
        Ok(_) => Err("not a path".to_owned()),
        Err(reason) => Err(reason.replace("'unix:'", "the option")),
    }
}

/// The policy for field names with an underscore: gunicorn's values except `dangerous`.
pub(super) fn header_map(text: &str) -> Result<Underscores, String> {
    match text {
        "drop" => Ok(Underscores::Drop),
        "refuse" => Ok(Underscores::Refuse),
        "dangerous" => {
            Err("not supported, as it lets X_Forwarded_For pose as X-Forwarded-For; use drop or \
                 refuse, and name the field with hyphens"
                .to_owned())
        }
        _ => Err("not one of drop, refuse".to_owned()),
    }
}

/// `none`, `optional` or `required`, as a word or as the number of Python's `ssl` module.
pub(super) fn cert_reqs(text: &str) -> Result<CertReqs, String> {
    match text.trim_start_matches("VerifyMode.") {
        "none" | "0" | "CERT_NONE" => Ok(CertReqs::None),
        "optional" | "1" | "CERT_OPTIONAL" => Ok(CertReqs::Optional),
        "required" | "2" | "CERT_REQUIRED" => Ok(CertReqs::Required),
        _ => Err("not one of none, optional, required".to_owned()),
    }
}

/// gunicorn's worker classes that run the application on threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkerClass {
    /// One thread, unless `--threads` is given (which makes gunicorn use `gthread`, too).
    Sync,
    /// A pool of threads.
    Gthread,
}

/// gunicorn's `--worker-class`. The error says why another class is not supported.
pub(super) fn worker_class(text: &str) -> Result<WorkerClass, String> {
    let lower = text.to_ascii_lowercase();
    // `gunicorn.workers.gthread.ThreadWorker`, `egg:gunicorn#gthread`
    match lower.rsplit(['.', '#']).next().unwrap_or(&lower) {
        "sync" | "syncworker" => Ok(WorkerClass::Sync),
        "gthread" | "threadworker" => Ok(WorkerClass::Gthread),
        _ => Err(unsupported_class(&lower)),
    }
}

fn unsupported_class(class: &str) -> String {
    match class {
        name if name.contains("gevent") || name.contains("eventlet") => {
            "not supported, as green threads replace Python's threads; use gthread with more \
             --threads"
        }
        name if name.contains("tornado") => {
            "not supported, as a Tornado application needs its own event loop; use gthread for a \
             WSGI application"
        }
        name if name.contains("uvicorn") || name.contains("asgi") => {
            "not supported, as rustwsgi does not run ASGI applications; use gthread for a WSGI \
             application"
        }
        _ => "not one of sync, gthread",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_with_decimals_are_parsed() {
        assert_eq!(seconds("30"), Ok(Duration::from_secs(30)));
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        assert_eq!(seconds("0.001"), Ok(Duration::from_millis(1)));
        for bad in ["", "x", "5s", "-1", "nan", "inf", "1e9", "0.0001"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn number_outside_its_range_is_refused() {
        assert_eq!(whole_number::<u16, 1, 4096>("4096"), Ok(4096));
        assert_eq!(whole_number::<u64, 0, { u64::MAX }>("0"), Ok(0));
        for bad in ["many", "", "0", "4097", "1.5", "-1", "+1", "99999999999999999999"] {
            let error = whole_number::<u16, 1, 4096>(bad).unwrap_err();
            assert_eq!(error, "not a whole number from 1 to 4096", "{bad}");
        }
        assert_eq!(whole_number::<u64, 0, { u64::MAX }>("x").unwrap_err(), "not a whole number");
        assert!(whole_number::<u16, 0, 100_000>("70000").is_err(), "more than the type holds");
    }

    #[test]
    fn size_with_suffix_is_multiplied() {
        for (text, bytes) in
            [("0", 0), ("8192", 8192), ("64k", 65_536), ("2M", 2 << 20), ("1g", 1 << 30)]
        {
            assert_eq!(size(text), Ok(bytes));
        }
        for bad in ["", "k", "1kb", "1.5m", "-1", "+1", " 1", "1t", "\u{e9}k"] {
            assert!(size(bad).unwrap_err().contains("8192"), "{bad}");
        }
        for huge in ["99999999999999999999", "18446744073709551615", "9999999999g"] {
            assert_eq!(size(huge), Err("too many bytes".to_owned()));
        }
        assert_eq!(head_size("16m"), Ok(16 << 20));
        assert_eq!(head_size("17m"), Err("more than 16m".to_owned()));
        assert_eq!(whole_head_size("1k"), Ok(1024));
        assert!(whole_head_size("1023").is_err() && whole_head_size("17m").is_err());
        assert_eq!(buffer_size("1g"), Ok(1 << 30));
        assert_eq!(buffer_size("2g"), Err("more than 1g".to_owned()));
    }

    #[test]
    fn level_in_either_case_is_parsed() {
        assert_eq!(level("DEBUG"), Ok(LevelFilter::Debug));
        assert_eq!(level("info"), Ok(LevelFilter::Info));
        assert_eq!(level("warning"), Ok(LevelFilter::Warn));
        assert_eq!(level("critical"), Ok(LevelFilter::Error));
        assert!(level("loud").is_err());
    }

    #[test]
    fn access_format_that_does_not_compile_is_refused() {
        assert_eq!(access_format("%(h)s"), Ok("%(h)s".to_owned()));
        assert!(access_format("%h").unwrap_err().contains("does not begin an atom"));
    }

    #[test]
    fn path_pattern_that_does_not_compile_is_refused() {
        assert_eq!(path_pattern("^/healthz$"), Ok("^/healthz$".to_owned()));
        for bad in ["", "[", "/(a", r"\y", "(?=a)"] {
            assert!(path_pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn forwarder_header_is_a_name_in_capitals() {
        for (text, name) in [(" remote_user", "REMOTE_USER"), ("*", "*"), ("", "")] {
            assert_eq!(forwarder_header(text), Ok(name.to_owned()));
        }
        for bad in ["A B", "A:", "A*"] {
            assert!(forwarder_header(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn variable_without_a_name_is_refused() {
        let pair = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        assert_eq!(variable("A=b=c"), pair("A", "b=c"));
        assert_eq!(variable("A="), pair("A", ""));
        for bad in ["A", "=b", "", "A=\0"] {
            assert!(variable(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn worker_class_without_threads_is_refused_with_the_reason() {
        for class in ["sync", "gunicorn.workers.sync.SyncWorker", "egg:gunicorn#sync"] {
            assert_eq!(worker_class(class), Ok(WorkerClass::Sync), "{class}");
        }
        for class in ["gthread", "ThreadWorker", "gunicorn.workers.gthread.ThreadWorker"] {
            assert_eq!(worker_class(class), Ok(WorkerClass::Gthread), "{class}");
        }
        for (class, reason) in [
            ("gevent", "green threads"),
            ("geventlet", "green threads"),
            ("eventlet", "green threads"),
            ("tornado", "event loop"),
            ("uvicorn.workers.UvicornWorker", "ASGI"),
            ("other", "sync, gthread"),
        ] {
            assert!(worker_class(class).unwrap_err().contains(reason), "{class}");
        }
    }
}
