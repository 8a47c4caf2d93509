//! Options in TOML.

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::lookup::Options;

/// Options whose text is octal. A number in octal notation, as `0o660`, is the same text, while
/// `toml` gives 432.
const OCTAL: [&str; 2] = ["umask", "control_socket_mode"];

/// Parses the text of a file. The error names the line but does not show it, as toml's own message
/// would: it may contain a password.
///
/// # Errors
/// A sentence with the position of the mistake.
pub(super) fn parse(origin: &str, text: &str) -> Result<Table, String> {
    let mut table = text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&letter| letter != '\n').count() + 1;
        format!("{origin}: line {line}, column {column}: {}", error.message())
    })?;
    if let Ok(notation) = DeTable::parse(text) {
        keep_octal_notation(&mut table, notation.get_ref());
    }
    Ok(table)
}

fn keep_octal_notation(table: &mut Table, notation: &DeTable<'_>) {
    for (key, written) in notation {
        match (table.get_mut(key.get_ref().as_ref()), written.get_ref()) {
            (Some(value), DeValue::Integer(number))
                if number.radix() == 8 && OCTAL.contains(&key.get_ref().as_ref()) =>
            {
                *value = Value::String(number.as_str().to_owned());
            }
            (Some(Value::Table(table)), DeValue::Table(notation)) => {
                keep_octal_notation(table, notation);
            }
            _ => {}
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_number_keeps_its_notation() {
        let text = "umask = 0o022\nworkers = 0o4\n[tool.rustwsgi]\ncontrol_socket_mode = 0o660\n";
        let table = parse("file", text).unwrap();
        assert_eq!(table["umask"].as_str(), Some("022"));
        assert_eq!(table["workers"].as_integer(), Some(4));
        assert_eq!(table["tool"]["rustwsgi"]["control_socket_mode"].as_str(), Some("660"));
        // As on the command line, `660` is octal without a prefix.
        let table = parse("file", "control_socket_mode = 660\n").unwrap();
        assert_eq!(table["control_socket_mode"].as_integer(), Some(660));
    }
}
