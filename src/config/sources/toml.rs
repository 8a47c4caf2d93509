//! Options in TOML.

use toml::{Table, Value};

use super::lookup::Options;

/// Parses the text of a file. The error names the line but does not show it, as toml's own message
/// would: it may contain a password.
///
/// # Errors
/// A sentence with the position of the mistake.
pub(super) fn parse(origin: &str, text: &str) -> Result<Table, String> {
    text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&letter| letter != '\n').count() + 1;
        format!("{origin}: line {line}, column {column}: {}", error.message())
    })
}

/// The options of a table, with their values as text.
///
/// # Errors
/// A sentence about a value that is no option's.
pub(super) fn options(origin: &str, table: Table) -> Result<Options, String> {
    let mut options = Vec::new();
    for (key, value) in table {
        if let Some(nested) = value.as_table()
            && matches!(key.as_str(), "rustwsgi" | "tool")
        {
            let has_own = key == "tool" && nested.contains_key("rustwsgi");
            let header = if has_own { "tool.rustwsgi" } else { &key };
            return Err(format!(
                "{origin}: options are top-level keys in this file; remove the line [{header}]"
            ));
        }
        let invalid = |what: &str| format!("{origin}: '{key}' {what}");
        let values = match &value {
            Value::Array(items) => items
                .iter()
                .map(|item| scalar(item).ok_or_else(|| invalid("is not a list of strings")))
                .collect::<Result<_, _>>()?,
            // `env = { KEY = "value" }`
            Value::Table(pairs) => pairs
                .iter()
                .map(|(name, value)| Some(format!("{name}={}", scalar(value)?)))
                .collect::<Option<_>>()
                .ok_or_else(|| invalid("is not a table of strings"))?,
            value => vec![scalar(value).ok_or_else(|| invalid("is not a string or a number"))?],
        };
        options.push((key, values));
    }
    Ok(options)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Some(value.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}
