//! The notations of option values: how each is parsed, and printed in the same notation.

pub(super) mod http2;
pub(super) mod logs;
pub(super) mod observability;
pub(super) mod request_id;
pub(super) mod workers;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{
    NonEmptyStringValueParser, PossibleValuesParser, StringValueParser, TypedValueParser as _,
    ValueParser,
};
use clap::{Arg, ValueHint, value_parser};
use log::LevelFilter;
use toml::Value;

use super::acme;
use super::bind::{self, Bind};
use super::parse;
use super::settings::{ReloadStrategy, Replace};
use super::static_files::{self, StaticFallback, StaticSource};
use super::tls::{CertReqs, TlsVersion};
use super::trust::Trust;
use crate::http1::Underscores;
use crate::observe::LogTarget;
use crate::proxies::{ForwardedFields, ProxyProtocol, Untrusted};

pub(super) use super::parse::WorkerClass;

/// gunicorn's bound on the number of header fields. 0 and larger values mean the same.
const MAX_FIELDS: usize = 32_768;

/// How values of type `T` are written on the command line and in files.
pub(super) struct Notation<T> {
    parser: fn() -> ValueParser,
    /// The value as in a TOML file.
    pub(super) print: fn(&T) -> Value,
    /// What a shell completes.
    hint: ValueHint,
}

impl<T> Notation<T> {
    const fn new(parser: fn() -> ValueParser, print: fn(&T) -> Value) -> Notation<T> {
        Notation { parser, print, hint: ValueHint::Unknown }
    }

    const fn completes(self, hint: ValueHint) -> Notation<T> {
        Notation { hint, ..self }
    }

    /// Adds the parser to an option.
    pub(super) fn define(&self, arg: Arg) -> Arg {
        // The help texts name possible values.
        let arg = arg.value_parser((self.parser)()).hide_possible_values(true);
        // `Unknown` would override the hint that clap derives from the type.
        if self.hint == ValueHint::Unknown { arg } else { arg.value_hint(self.hint) }
    }
}

/// Text, which may be empty.
pub(super) const TEXT: &Notation<String> =
    &Notation::new(|| StringValueParser::new().into(), |text| Value::from(text.as_str()));

/// Text that is not empty.
pub(super) const NAME: &Notation<String> =
    &Notation::new(|| NonEmptyStringValueParser::new().into(), |text| Value::from(text.as_str()));

/// A path, which need not be UTF-8.
pub(super) const PATH: &Notation<PathBuf> =
    &Notation::new(|| value_parser!(PathBuf), |path| Value::from(path.display().to_string()));

/// `KEY=VALUE`.
pub(super) const VARIABLE: &Notation<(String, String)> = &Notation::new(
    || ValueParser::new(parse::variable),
    |(key, value)| Value::from(format!("{key}={value}")),
);

/// An address to listen on.
pub(super) const ADDRESS: &Notation<Bind> = &Notation::new(
    || ValueParser::new(|text: &str| text.parse::<Bind>()),
    |bind| Value::from(bind.to_string()),
);

/// A TCP port.
pub(super) const PORT: &Notation<u16> =
    &Notation::new(|| ValueParser::new(bind::port_number), |port| Value::from(i64::from(*port)));

/// A trusted proxy, or a network of them.
pub(super) const PROXY: &Notation<Trust> = &Notation::new(
    || ValueParser::new(|text: &str| text.parse::<Trust>()),
    |trust| Value::from(trust.to_string()),
);

/// A header field that a trusted proxy may set although its name has an underscore.
pub(super) const FORWARDER_HEADER: &Notation<String> =
    &Notation::new(|| ValueParser::new(parse::forwarder_header), |name| Value::from(name.as_str()));

/// Fields of `--forwarded-headers`: one, or none.
pub(super) const FORWARDED_FIELDS: &Notation<ForwardedFields> = &Notation::new(
    || ValueParser::new(|text: &str| text.parse::<ForwardedFields>()),
    |fields| Value::from(fields.names().collect::<Vec<_>>().join(",")),
);

/// `keep` or `strip`.
pub(super) const UNTRUSTED: &Notation<Untrusted> = &Notation::new(
    || {
        let parser = PossibleValuesParser::new(["keep", "strip"]);
        ValueParser::new(parser.map(|text| match text.as_str() {
            "strip" => Untrusted::Strip,
            _ => Untrusted::Keep,
        }))
    },
    |policy| {
        Value::from(match policy {
            Untrusted::Keep => "keep",
            Untrusted::Strip => "strip",
        })
    },
);

/// `off`, or the versions of the PROXY protocol.
pub(super) const PROXY_PROTOCOL: &Notation<ProxyProtocol> = &Notation::new(
    || ValueParser::new(|text: &str| text.parse::<ProxyProtocol>()),
    |versions| Value::from(versions.as_str()),
);

/// A whole number from `LOW` to `HIGH`.
pub(super) struct Whole<T, const LOW: u64, const HIGH: u64>(T);

impl<T, const LOW: u64, const HIGH: u64> Whole<T, LOW, HIGH>
where
    T: TryFrom<u64> + TryInto<u64> + Copy + Send + Sync + 'static,
{
    pub(super) const NUMBER: &'static Notation<T> = &Notation::new(
        || ValueParser::new(parse::whole_number::<T, LOW, HIGH>),
        |number| whole((*number).try_into().unwrap_or(u64::MAX)),
    );
}

/// The number of header fields; 0 is as many as possible.
pub(super) const FIELD_COUNT: &Notation<usize> = &Notation::new(
    || {
        ValueParser::new(|text: &str| {
            let count = parse::whole_number::<usize, 0, { u32::MAX as u64 }>(text)?;
            let count = if count == 0 { MAX_FIELDS } else { count };
            Ok::<_, String>(count.min(MAX_FIELDS))
        })
    },
    |count| whole(*count as u64),
);

/// Seconds.
pub(super) const SECONDS: &Notation<Duration> =
    &Notation::new(|| ValueParser::new(parse::seconds), print_seconds);

/// Seconds; 0 is no timeout, which is [`Duration::MAX`] in the settings.
pub(super) const TIMEOUT: &Notation<Duration> = &Notation::new(
    || {
        ValueParser::new(|text: &str| {
            let time = parse::seconds(text)?;
            Ok::<_, String>(if time.is_zero() { Duration::MAX } else { time })
        })
    },
    print_seconds,
);

/// Bytes.
pub(super) const SIZE: &Notation<u64> =
    &Notation::new(|| ValueParser::new(parse::size), |bytes| whole(*bytes));

/// Bytes; 0 is no limit, which is `u64::MAX` in the settings.
pub(super) const SIZE_LIMIT: &Notation<u64> =
    &Notation::new(|| ValueParser::new(size_limit), |&bytes| print_limit(bytes, u64::MAX));

/// Bytes of memory; 0 is no limit, which is `usize::MAX` in the settings.
pub(super) const MEMORY_LIMIT: &Notation<usize> = &Notation::new(
    || {
        ValueParser::new(|text: &str| {
            Ok::<_, String>(usize::try_from(size_limit(text)?).unwrap_or(usize::MAX))
        })
    },
    |&bytes| print_limit(bytes as u64, usize::MAX as u64),
);

/// Bytes of a buffer in memory.
pub(super) const BUFFER_SIZE: &Notation<usize> =
    &Notation::new(|| ValueParser::new(parse::buffer_size), |bytes| whole(*bytes as u64));

/// Bytes of a part of a request head.
pub(super) const HEAD_PART: &Notation<usize> =
    &Notation::new(|| ValueParser::new(parse::head_size), |bytes| whole(*bytes as u64));

/// Bytes of a request head.
pub(super) const WHOLE_HEAD: &Notation<usize> =
    &Notation::new(|| ValueParser::new(parse::whole_head_size), |bytes| whole(*bytes as u64));

/// A file mode mask, in octal.
pub(super) const UMASK: &Notation<u32> =
    &Notation::new(|| ValueParser::new(parse::umask), |mask| Value::from(format!("{mask:03o}")));

/// `none`, `optional` or `required`.
pub(super) const CERT_REQS: &Notation<CertReqs> = &Notation::new(
    || ValueParser::new(parse::cert_reqs),
    |reqs| {
        Value::from(match reqs {
            CertReqs::None => "none",
            CertReqs::Optional => "optional",
            CertReqs::Required => "required",
        })
    },
);

/// A domain name of an ACME certificate.
pub(super) const DOMAIN: &Notation<String> =
    &Notation::new(|| ValueParser::new(acme::domain), |name| Value::from(name.as_str()));

/// The URL of an ACME directory.
pub(super) const ACME_DIRECTORY: &Notation<String> =
    &Notation::new(|| ValueParser::new(acme::directory), |url| Value::from(url.as_str()));

/// A mail address.
pub(super) const EMAIL: &Notation<String> =
    &Notation::new(|| ValueParser::new(acme::email), |address| Value::from(address.as_str()));

/// `1.2` or `1.3`.
pub(super) const TLS_VERSION: &Notation<TlsVersion> = &Notation::new(
    || {
        let parser = PossibleValuesParser::new(["1.2", "1.3"]);
        ValueParser::new(parser.map(|text| match text.as_str() {
            "1.3" => TlsVersion::Tls13,
            _ => TlsVersion::Tls12,
        }))
    },
    |version| {
        Value::from(match version {
            TlsVersion::Tls12 => "1.2",
            TlsVersion::Tls13 => "1.3",
        })
    },
);

/// `all` or `rolling`.
pub(super) const RELOAD_STRATEGY: &Notation<ReloadStrategy> = &Notation::new(
    || {
        let parser = PossibleValuesParser::new(["all", "rolling"]);
        ValueParser::new(parser.map(|text| match text.as_str() {
            "rolling" => ReloadStrategy::Rolling,
            _ => ReloadStrategy::All,
        }))
    },
    |strategy| {
        Value::from(match strategy {
            ReloadStrategy::All => "all",
            ReloadStrategy::Rolling => "rolling",
        })
    },
);

/// `ready-first` or `stop-first`.
pub(super) const REPLACE: &Notation<Replace> = &Notation::new(
    || {
        let parser = PossibleValuesParser::new(["ready-first", "stop-first"]);
        ValueParser::new(parser.map(|text| match text.as_str() {
            "stop-first" => Replace::StopFirst,
            _ => Replace::ReadyFirst,
        }))
    },
    |replace| {
        Value::from(match replace {
            Replace::ReadyFirst => "ready-first",
            Replace::StopFirst => "stop-first",
        })
    },
);

/// gunicorn's worker class.
pub(super) const WORKER_CLASS: &Notation<WorkerClass> = &Notation::new(
    || ValueParser::new(parse::worker_class),
    |class| {
        Value::from(match class {
            WorkerClass::Sync => "sync",
            WorkerClass::Gthread => "gthread",
        })
    },
);

/// `drop` or `refuse`.
pub(super) const HEADER_MAP: &Notation<Underscores> = &Notation::new(
    || ValueParser::new(parse::header_map),
    |policy| {
        Value::from(match policy {
            Underscores::Drop => "drop",
            Underscores::Refuse => "refuse",
        })
    },
);

/// `on` or `off`.
pub(super) const SWITCH: &Notation<bool> = &Notation::new(
    || ValueParser::new(PossibleValuesParser::new(["on", "off"]).map(|text| text == "on")),
    |&is_on| Value::from(if is_on { "on" } else { "off" }),
);

/// `auto` or `URL=DIR`.
pub(super) const STATIC_SOURCE: &Notation<StaticSource> = &Notation::new(
    || ValueParser::new(static_files::source),
    |source| Value::from(source.to_string()),
);

/// `404` or `app`.
pub(super) const STATIC_FALLBACK: &Notation<StaticFallback> = &Notation::new(
    || {
        let parser = PossibleValuesParser::new(["404", "app"]);
        ValueParser::new(parser.map(|text| match text.as_str() {
            "app" => StaticFallback::App,
            _ => StaticFallback::NotFound,
        }))
    },
    |fallback| {
        Value::from(match fallback {
            StaticFallback::NotFound => "404",
            StaticFallback::App => "app",
        })
    },
);

/// The name of a file without its directory.
pub(super) const STATIC_INDEX: &Notation<String> =
    &Notation::new(|| ValueParser::new(static_files::index), |name| Value::from(name.as_str()));

/// A format of the access log.
pub(super) const ACCESS_FORMAT: &Notation<String> =
    &Notation::new(|| ValueParser::new(parse::access_format), |text| Value::from(text.as_str()));

/// A regular expression of the paths that the access log leaves out.
pub(super) const PATH_PATTERN: &Notation<String> =
    &Notation::new(|| ValueParser::new(parse::path_pattern), |text| Value::from(text.as_str()));

/// The file of the access log; `-` is standard output.
pub(super) const ACCESS_LOG_FILE: &Notation<LogTarget> =
    &Notation::new(|| log_target(LogTarget::Stdout), print_target).completes(ValueHint::FilePath);

/// The file of the error log; `-` is standard error.
pub(super) const ERROR_LOG_FILE: &Notation<LogTarget> =
    &Notation::new(|| log_target(LogTarget::Stderr), print_target).completes(ValueHint::FilePath);

/// The lowest level that is logged.
pub(super) const LEVEL: &Notation<LevelFilter> = &Notation::new(
    || ValueParser::new(parse::level),
    |level| {
        Value::from(match level {
            LevelFilter::Debug | LevelFilter::Trace => "debug",
            LevelFilter::Info => "info",
            LevelFilter::Warn => "warning",
            LevelFilter::Error | LevelFilter::Off => "error",
        })
    },
);

/// A number in TOML, whose integers have 63 bits; a larger one is text.
fn whole(number: u64) -> Value {
    i64::try_from(number).map_or_else(|_| Value::from(number.to_string()), Value::from)
}

fn print_seconds(time: &Duration) -> Value {
    match *time {
        Duration::MAX => Value::from(0),
        time if time.subsec_nanos() == 0 => whole(time.as_secs()),
        time => Value::from(time.as_secs_f64()),
    }
}

fn size_limit(text: &str) -> Result<u64, String> {
    let bytes = parse::size(text)?;
    Ok(if bytes == 0 { u64::MAX } else { bytes })
}

fn print_limit(bytes: u64, unlimited: u64) -> Value {
    if bytes == unlimited { Value::from(0) } else { whole(bytes) }
}

fn log_target(dash: LogTarget) -> ValueParser {
    let parser = NonEmptyStringValueParser::new();
    ValueParser::new(parser.map(move |file| LogTarget::from_option(&file, dash.clone())))
}

/// The inverse of [`LogTarget::from_option`].
pub(super) fn print_target(target: &LogTarget) -> Value {
    match target {
        LogTarget::Stdout | LogTarget::Stderr | LogTarget::Nowhere => Value::from("-"),
        LogTarget::File(path) => Value::from(path.display().to_string()),
    }
}
