//! Tests of the access log's formats: each atom alone, the named formats whole, and forgery.

use super::super::trace::{Phases, Trace};
use super::*;
use std::time::{Duration, UNIX_EPOCH};

type Fields = &'static [(&'static str, &'static [u8])];

/// A request; tests change the members that they are about.
struct Sample {
    remote: &'static str,
    method: &'static [u8],
    target: &'static [u8],
    request: Fields,
    environ: Vec<(String, String)>,
    trace: Trace<'static>,
}

impl Default for Sample {
    fn default() -> Sample {
        Sample {
            remote: "203.0.113.7",
            method: b"GET",
            target: b"/a%20b?x=1&y",
            request: &[
                ("referer", b"http://ref/"),
                ("user-agent", b"curl/8"),
                ("authorization", b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ],
            environ: vec![("REMOTE_PORT".into(), "4711".into())],
            trace: Trace::default(),
        }
    }
}

impl Sample {
    fn render(&self, format: &str) -> String {
        let request = |name: &str| find(self.request, name);
        let response = |name: &str| find(&[("content-type", b"text/html")], name);
        let record = Record {
            remote: self.remote,
            method: self.method,
            target: self.target,
            version: "HTTP/1.1",
            status: 404,
            sent: 12,
            started: UNIX_EPOCH + Duration::from_millis(1_795_493_674_012),
            elapsed: Duration::from_micros(3_004_005),
            request_field: &request,
            response_field: &response,
            environ: &self.environ,
            trace: self.trace,
        };
        let mut out = Vec::new();
        let format = Format::parse(format).unwrap();
        format.render(&record, &mut Stamps::new(), &mut out);
        let line = String::from_utf8(out).unwrap();
        line.strip_suffix('\n').unwrap().to_owned()
    }
}

fn find(fields: Fields, name: &str) -> Option<&'static [u8]> {
    let found = fields.iter().find(|(field, _)| *field == name)?;
    Some(found.1)
}

fn started_as(format: &'static str) -> String {
    let at = UNIX_EPOCH + Duration::from_secs(1_795_493_674);
    Stamp::new(format).text(at).to_owned()
}

#[test]
fn each_atom_formats_its_value() {
    let pid = std::process::id();
    let time = started_as("[%d/%b/%Y:%H:%M:%S %z]");
    for (atom, expected) in [
        ("%(h)s", "203.0.113.7"),
        ("%(l)s", "-"),
        ("%(u)s", "Aladdin"),
        ("%(t)s", &time),
        ("%(r)s", "GET /a%20b?x=1&y HTTP/1.1"),
        ("%(m)s", "GET"),
        ("%(U)s", "/a%20b"),
        ("%(q)s", "x=1&y"),
        ("%(H)s", "HTTP/1.1"),
        ("%(s)s", "404"),
        ("%(B)s", "12"),
        ("%(b)s", "12"),
        ("%(f)s", "http://ref/"),
        ("%(a)s", "curl/8"),
        ("%(T)s", "3"),
        ("%(T)d", "3"),
        ("%(M)s", "3004"),
        ("%(D)s", "3004005"),
        ("%(L)s", "3.004005"),
        ("%(p)s", &format!("<{pid}>")),
        ("%({User-Agent}i)s", "curl/8"),
        ("%({Content-Type}o)s", "text/html"),
        ("%({REMOTE_PORT}e)s", "4711"),
        ("%({x-none}i)s %({x-none}o)s %({NONE}e)s", "- - -"),
        ("100%% %(s)s%%", "100% 404%"),
        ("plain", "plain"),
        ("\u{e9}%(s)s\u{e9}", "\u{e9}404\u{e9}"),
    ] {
        assert_eq!(Sample::default().render(atom), expected, "{atom}");
    }
}

#[test]
fn each_letter_of_the_table_compiles_to_its_atom() {
    for (letter, atom, _) in ATOMS {
        let format = Format::parse(&format!("%({letter})s")).unwrap();
        assert_eq!(format.shape, Shape::Pieces(vec![Piece::Atom(atom)]));
    }
}

#[test]
fn named_formats_are_gunicorns() {
    let time = started_as("[%d/%b/%Y:%H:%M:%S %z]");
    let common = format!("203.0.113.7 - Aladdin {time} \"GET /a%20b?x=1&y HTTP/1.1\" 404 12");
    assert_eq!(Sample::default().render("common"), common);
    assert_eq!(
        Sample::default().render("combined"),
        format!("{common} \"http://ref/\" \"curl/8\"")
    );
}

#[test]
fn json_line_has_all_members() {
    let time = started_as("%Y-%m-%dT%H:%M:%S.012%:z");
    let pid = std::process::id();
    assert_eq!(
        Sample::default().render("json"),
        format!(
            "{{\"time\":\"{time}\",\"remote\":\"203.0.113.7\",\"user\":\"Aladdin\",\
             \"method\":\"GET\",\"target\":\"/a%20b?x=1&y\",\"protocol\":\"HTTP/1.1\",\
             \"status\":404,\"bytes\":12,\"seconds\":3.004005,\"queue\":null,\"app\":null,\
             \"send\":null,\"referer\":\"http://ref/\",\"user_agent\":\"curl/8\",\
             \"request_id\":null,\"traceparent\":null,\"pid\":{pid}}}"
        )
    );
}

#[test]
fn trace_has_atoms_and_members() {
    let phases = Phases {
        queue: Some(Duration::from_micros(1)),
        app: Some(Duration::from_millis(2500)),
        send: Some(Duration::ZERO),
    };
    let trace = Trace {
        request_id: Some(r"a\b"),
        traceparent: Some(b"00-1-2-01"),
        phases,
        ..Trace::default()
    };
    let traced = Sample { trace, ..Sample::default() };
    assert_eq!(
        traced.render("%(queue)s %(app)s %(send)s %(request_id)s %(traceparent)s"),
        r"0.000001 2.500000 0.000000 a\x5Cb 00-1-2-01"
    );
    let json = traced.render("json");
    assert!(json.contains(r#""queue":0.000001,"app":2.500000,"send":0.000000,"#), "{json}");
    assert!(json.contains(r#""request_id":"a\\b","traceparent":"00-1-2-01","pid""#), "{json}");
    let untraced = Sample::default().render("%(queue)s %(app)s %(send)s %(request_id)s");
    assert_eq!(untraced, "- - - -");
}

#[test]
fn format_shows_the_trace_if_it_has_such_an_atom() {
    for (format, shows) in
        [("json", true), ("%(queue)s", true), ("%(s)s %(traceparent)s", true), ("combined", false)]
    {
        assert_eq!(Format::parse(format).unwrap().shows_trace(), shows, "{format}");
    }
}

#[test]
fn missing_value_is_a_dash_or_null() {
    let bare = Sample { remote: "", request: &[("user-agent", b"")], ..Sample::default() };
    assert_eq!(bare.render("%(h)s %(u)s %(f)s %(a)s"), "- - - -");
    let json = bare.render("json");
    assert!(json.contains(r#""remote":null,"user":null"#), "{json}");
    assert!(json.contains(r#""referer":null,"user_agent":"""#), "{json}");
}

#[test]
fn hostile_bytes_forge_neither_a_line_nor_a_column() {
    let hostile = Sample {
        target: b"/\r\n1.2.3.4 - - \"GET /admin\" 200",
        request: &[
            ("user-agent", b"a\" \"b\\\x1b[2J\xe9"),
            // The user name is `a [b] "c`.
            ("authorization", b"Basic YSBbYl0gImM6"),
        ],
        environ: vec![("K".into(), "\u{e9}\n".into())],
        ..Sample::default()
    };
    assert_eq!(
        hostile.render("\"%(r)s\""),
        r#""GET /\x0D\x0A1.2.3.4 - - \x22GET /admin\x22 200 HTTP/1.1""#
    );
    assert_eq!(
        hostile.render("%(a)s|%({user-agent}i)s"),
        r"a\x22 \x22b\x5C\x1B[2J\xE9|a\x22 \x22b\x5C\x1B[2J\xE9"
    );
    assert_eq!(hostile.render("%(u)s"), r"a\x20[b]\x20\x22c");
    assert_eq!(hostile.render("%({K}e)s"), r"\xC3\xA9\x0A");
    let json = hostile.render("json");
    assert!(json.contains(r#""user":"a [b] \"c""#), "{json}");
    assert!(!json.contains('\n') && !json.contains('\x1b'), "{json}");
}

#[test]
fn target_in_each_form_has_path_and_query() {
    for (target, path, query) in [
        (&b"/"[..], "/", ""),
        (b"/a?b?c", "/a", "b?c"),
        (b"/a?u=http://x/y", "/a", "u=http://x/y"),
        (b"http://h:1/a?b", "/a", "b"),
        (b"http://h?b", "", "b"),
        (b"http://h", "", ""),
        (b"*", "*", ""),
        (b"h:443", "h:443", ""),
    ] {
        let sample = Sample { target, ..Sample::default() };
        assert_eq!(sample.render("%(U)s|%(q)s"), format!("{path}|{query}"));
    }
}

#[test]
fn repeated_environ_keys_are_listed_once() {
    let format = Format::parse("%({B}e)s %({A}e)s %({B}e)s %({c}i)s").unwrap();
    assert_eq!(format.environ_keys(), ["B", "A"]);
    assert!(Format::parse("json").unwrap().environ_keys().is_empty());
}

#[test]
fn malformed_format_is_rejected_with_its_position() {
    for (format, at) in [("%", 1), ("a %h", 3), ("\u{e9}%(h", 2), ("%(h)", 1), ("%(h)s %(t)x", 7)] {
        assert_eq!(Format::parse(format).unwrap_err(), FormatError::Malformed(at), "{format}");
    }
    assert_eq!(Format::parse(""), Err(FormatError::Empty));
}

#[test]
fn unknown_atom_is_a_dash() {
    for atom in ["%(x)s", "%({a}z)s", "%({}i)s", "%({a)s", "%()s", "%(h)d", "%({a}i)d"] {
        let format = Format::parse(&format!("a {atom} b")).unwrap();
        assert_eq!(format.unknown(), [atom]);
        assert_eq!(Sample::default().render(&format!("a {atom} b")), "a - b");
    }
    assert!(Format::parse("combined").unwrap().unknown().is_empty());
}

#[test]
fn known_atoms_lists_all_letters() {
    let text = known_atoms();
    assert!(
        text.contains(
            "h l u t r m U q H s B b f a T M D L p queue app send request_id traceparent"
        ),
        "{text}"
    );
    assert!(text.contains("%({name}i)s"), "{text}");
}

#[test]
fn template_has_the_known_atoms_in_pythons_notation() {
    for (format, expected) in [
        ("common", Some(COMMON.to_owned())),
        ("json", None),
        ("100 %% %(s)d", Some("100 %% %(s)s".to_owned())),
        ("%({X-Id}i)s %({Via}o)s %({A_b}e)s", Some("%({x-id}i)s %({via}o)s %({a_b}e)s".to_owned())),
        ("%(x)s %(B)d", Some("- %(b)s".to_owned())),
    ] {
        assert_eq!(Format::parse(format).unwrap().template(), expected, "{format}");
    }
}
