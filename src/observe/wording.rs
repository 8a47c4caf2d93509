//! The grammar of log lines: numbers with their nouns, and capitals.

/// A number with its noun, which is given as a singular: `1 request`, `2 requests`.
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// An error message as a log line, which starts with a capital unless it starts with a name.
pub fn as_line(message: &str) -> String {
    let first = message.split(' ').next().unwrap_or_default();
    let is_word = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_lowercase());
    match message.split_at_checked(1) {
        Some((initial, rest)) if is_word => initial.to_ascii_uppercase() + rest,
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_has_its_noun_in_singular_or_plural() {
        assert_eq!(counted(0, "request"), "0 requests");
        assert_eq!(counted(1, "request"), "1 request");
        assert_eq!(counted(2, "idle connection"), "2 idle connections");
    }

    #[test]
    fn message_gets_a_capital_unless_it_starts_with_a_name() {
        for (message, line) in [
            ("cannot listen on x", "Cannot listen on x"),
            ("--pid: cannot write x", "--pid: cannot write x"),
            ("fd://3 is not a socket", "fd://3 is not a socket"),
            ("shop:app is async", "shop:app is async"),
            ("Done", "Done"),
            ("éa b", "éa b"),
            ("", ""),
        ] {
            assert_eq!(as_line(message), line);
        }
    }
}
