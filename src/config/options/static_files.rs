//! Static files.

use crate::config::field::{Many, Maybe, One};
use crate::config::notation::{PATH, STATIC_FALLBACK, STATIC_INDEX, STATIC_SOURCE, Whole};
use crate::config::option::{OptionDef, option};

pub(in crate::config) const OPTIONS: &[OptionDef] = &[
    option("static", &Many(STATIC_SOURCE, |given| &mut given.settings.static_files.sources))
        .takes("URL=DIR|auto")
        .help(
            "Serve the files below DIR at URL, without the application (repeatable); auto takes \
             both from Django's STATIC_URL and STATIC_ROOT, or from Flask's application",
        )
        .aliases(&["static-map"])
        .uwsgi(&["static_map2"]),
    option(
        "static_fallback",
        &One(STATIC_FALLBACK, |given| &mut given.settings.static_files.fallback),
    )
    .takes("404|app")
    .default("404")
    .help("Response for a path below a URL of --static that is no file: 404, or the application's"),
    option(
        "static_max_age",
        &One(Whole::<u64, 0, 31_536_000>::NUMBER, |given| &mut given.settings.static_files.max_age),
    )
    .takes("S")
    .default("60")
    .help(
        "Seconds for which clients may use a static file without asking again; a file with a \
         content hash in its name may be used for a year",
    ),
    option("static_index", &Maybe(STATIC_INDEX, |given| &mut given.settings.static_files.index))
        .takes("NAME")
        .help("The static file to serve for a directory, such as index.html [default: none]"),
    option("sendfile_root", &Many(PATH, |given| &mut given.settings.static_files.sendfile_roots))
        .takes("DIR")
        .help(
            "Send the file below DIR that the application names in X-Sendfile or X-Accel-Redirect \
         (repeatable)",
        ),
];
