//! The worker processes, their threads, and when they are recycled.

use crate::config::field::{Flag, Maybe, One};
use crate::config::notation::workers::WORKER_COUNT;
use crate::config::notation::{
    RELOAD_STRATEGY, REPLACE, SECONDS, SIZE, TIMEOUT, WORKER_CLASS, Whole,
};
use crate::config::option::{OptionDef, Reload, option};

pub(in crate::config) const OPTIONS: &[OptionDef] = &[
    option("workers", &One(WORKER_COUNT, |given| &mut given.settings.processes.workers))
        .short('w')
        .takes("N|auto")
        .default("1")
        .help(
            "Number of worker processes; auto is one for each CPU that may be used: CPU affinity \
             and cgroup quota [default: $WEB_CONCURRENCY, else 1]",
        )
        .gunicorn("workers")
        .uwsgi(&["processes"])
        .fallback_variable("WEB_CONCURRENCY")
        .reload(Reload::ByMaster),
    option("threads", &Maybe(Whole::<usize, 0, 4096>::NUMBER, |given| &mut given.threads))
        .takes("N")
        .help(
            "Number of threads per worker that run the application; 0 means 1, as with gunicorn \
             [default: 4]",
        )
        .aliases(&["blocking-threads"])
        .gunicorn("threads")
        .resolved(|settings| i64::try_from(settings.threads).ok().map(Into::into)),
    option("worker_class", &Maybe(WORKER_CLASS, |given| &mut given.worker_class))
        .short('k')
        .takes("CLASS")
        .help(
            "Worker class, for compatibility with gunicorn: gthread, or sync (one thread unless \
             --threads is given)",
        )
        .gunicorn("worker_class")
        .resolved(|_| None),
    option(
        "worker_connections",
        &One(Whole::<usize, 1, 4_294_967_295>::NUMBER, |given| {
            &mut given.settings.worker_connections
        }),
    )
    .takes("N")
    .default("100000")
    .help(
        "Maximum number of connections per worker; beyond it, an idle one is closed, or one whose \
         request is incomplete",
    )
    .gunicorn("worker_connections"),
    option("preload", &Flag(true, |given| &mut given.settings.processes.preload))
        .of_master()
        .help(
            "Import the application before forking the workers; saves memory, but a reload does \
             not import it again",
        )
        .gunicorn("preload_app")
        .reload(Reload::Upgrade),
    option("no_gc_freeze", &Flag(false, |given| &mut given.settings.processes.gc_freeze))
        .help(
            "Do not call gc.freeze() after the import, so that imported objects are \
             garbage-collected as usual",
        )
        .reload(Reload::UnlessPreloaded),
    option("reload_strategy", &One(RELOAD_STRATEGY, |given| &mut given.settings.processes.reload))
        .takes("all|rolling")
        .default("all")
        .of_master()
        .help(
            "How a reload replaces workers: all at once, or rolling (one by one, which needs less \
         memory)",
        ),
    option("replace", &One(REPLACE, |given| &mut given.settings.processes.replace))
        .takes("ready-first|stop-first")
        .default("ready-first")
        .of_master()
        .help(
            "How a worker is replaced in a reload or in recycling: it ends when its successor is \
             ready, or before that starts (for an application that takes a port or a lock)",
        ),
    option("respawn_canary", &One(SECONDS, |given| &mut given.settings.processes.canary))
        .takes("S")
        .default("0")
        .of_master()
        .help(
            "Let a reload first start one new worker, which serves for this time beside the old \
             ones: if it cannot boot, or more of its responses are 5xx than theirs, the reload is \
             rolled back; 0 starts all new workers at once",
        )
        .reload(Reload::ByMaster),
];

pub(in crate::config) const RECYCLING: &[OptionDef] = &[
    option(
        "max_requests",
        &One(Whole::<u64, 0, { u64::MAX }>::NUMBER, |given| {
            &mut given.settings.processes.recycling.requests
        }),
    )
    .takes("N")
    .default("0")
    .of_master()
    .help(
        "Maximum number of requests a worker handles before it is replaced (it handles a few more \
         until its replacement is ready); 0 is no limit",
    )
    .aliases(&["limit-max-requests"])
    .gunicorn("max_requests"),
    option(
        "max_requests_jitter",
        &One(Whole::<u64, 0, { u64::MAX }>::NUMBER, |given| {
            &mut given.settings.processes.recycling.jitter
        }),
    )
    .takes("N")
    .default("0")
    .of_master()
    .help(
        "Maximum random number of requests to add to --max-requests, so that workers are not \
         replaced at the same time",
    )
    .gunicorn("max_requests_jitter"),
    option(
        "max_worker_lifetime",
        &One(TIMEOUT, |given| &mut given.settings.processes.recycling.lifetime),
    )
    .takes("S")
    .default("0")
    .of_master()
    .help("Maximum lifetime of a worker before it is replaced; 0 is no limit")
    .aliases(&["workers-lifetime"]),
    option("max_worker_rss", &One(SIZE, |given| &mut given.settings.processes.recycling.rss))
        .takes("BYTES")
        .default("0")
        .of_master()
        .help("Maximum resident set size of a worker before it is replaced; 0 is no limit")
        .aliases(&["workers-max-rss"]),
];
