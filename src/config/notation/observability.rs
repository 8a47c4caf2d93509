//! The notations of options about observability.

use std::path::PathBuf;

use clap::ValueHint;
use clap::builder::ValueParser;
use toml::Value;

use super::Notation;
use crate::config::parse;

/// The path of a health check.
pub(in crate::config) const HEALTH_PATH: &Notation<String> =
    &Notation::new(|| ValueParser::new(parse::health_path), |path| Value::from(path.as_str()));

/// The path of a unix socket, with or without `unix:` in front.
pub(in crate::config) const SOCKET_PATH: &Notation<PathBuf> = &Notation::new(
    || ValueParser::new(parse::socket_path),
    |path: &PathBuf| Value::from(path.display().to_string()),
)
.completes(ValueHint::FilePath);

/// The permissions of a unix socket, in octal.
pub(in crate::config) const SOCKET_MODE: &Notation<u32> = &Notation::new(
    || ValueParser::new(parse::socket_mode),
    |mode| Value::from(format!("{mode:03o}")),
);
