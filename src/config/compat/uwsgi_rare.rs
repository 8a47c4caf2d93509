//! What to use instead of uWSGI's less common options: for error messages and `rustwsgi convert`.
//! The common ones are in [`uwsgi`](super::uwsgi), whose table is also documentation.

/// Options, with underscores and separated by spaces, and what to use instead.
pub(super) const RARE: &[(&str, &str)] = &[
    (
        "no_orphans no_orphan ignore_sigpipe ignore_write_errors disable_write_exception \
         write_errors_tolerance write_errors_exception_only threaded_logger log_master \
         close_on_exec close_on_exec2 tcp_nodelay so_keepalive no_defer_accept skip_atexit \
         skip_zero reaper no_server honour_stdin honour_range max_apps exit_on_reload \
         no_threads_wait no_initgroups reload_os_env pcre_jit harakiri_verbose harakiri_no_arh \
         log_reopen log_micros logdate log_date show_config dump_options mimefile mime_file \
         file_serve_mode fileserve_mode disable_sendfile early_python python_version no_site \
         py_call_osafterfork py_call_uwsgi_fork_hooks wsgi_env_behavior wsgi_env_behaviour \
         wsgi_manage_chunked_input wsgi_accept_buffer wsgi_accept_buffers http_auto_chunked \
         http_chunked_input http_raw_body http_manage_expect http_to http_modifier1 \
         http_modifier2 http_processes http_workers http_events http_backend_http http_uid \
         http_gid cgi_mode weight auto_weight",
        "remove it: the server behaves so, or has nothing to configure",
    ),
    (
        "cheaper_algo cheaper_initial cheaper_step cheaper_overload cheaper_idle \
         cheaper_rss_limit_soft cheaper_rss_limit_hard cheaper_busyness_multiplier \
         cheaper_busyness_min cheaper_busyness_max cheaper_busyness_backlog_alert \
         cheaper_busyness_backlog_multiplier cheaper_busyness_backlog_step \
         cheaper_busyness_backlog_nonzero cheaper_busyness_penalty cheaper_busyness_verbose \
         die_on_idle die_on_no_workers",
        "the number of --workers is fixed; the signals TTIN and TTOU change it",
    ),
    ("autoload plugin_dir plugins_dir need_plugin need_plugins", "remove it: there are no plugins"),
    ("max_fd", "remove it: the limit of open descriptors is raised to the hard limit"),
    (
        "log_maxsize log_backupname log_truncate touch_logrotate touch_logreopen",
        "use logrotate, which sends USR1 to the master (--pid FILE stores its PID)",
    ),
    (
        "log_4xx log_5xx log_slow log_big log_zero log_ioerror log_sendfile",
        "every request is logged, except for paths of --access-log-exclude",
    ),
    (
        "log_socket log_encoder log_req_encoder worker_logger worker_logger_req \
         worker_log_encoder worker_log_req_encoder log_route log_req_route log_filter log_drain \
         log_prefix logformat_strftime log_format_strftime logfile_chown logfile_chmod",
        "logs go to files or to the standard streams; --access-logformat json suits log shippers",
    ),
    (
        "memory_report carbon statsd_push stats_push stats_pusher_default_freq stats_http \
         stats_min stats_minified stats_no_cores stats_no_metrics http_stats http_stats_server \
         metrics_dir metrics_no_cores snmp alarm alarm_freq alarm_backlog alarm_segfault log_alarm",
        "write --metrics ADDRESS, and let Prometheus read /metrics there",
    ),
    (
        "touch_workers_reload touch_chain_reload touch_exec touch_signal fs_reload \
         fs_brutal_reload fs_signal py_auto_reload_ignore",
        "send HUP to the master, or write --reload-extra-file PATH with --reload in development",
    ),
    (
        "spooler_processes spooler_quiet spooler_ordered spooler_chdir spooler_max_tasks \
         spooler_frequency spooler_freq spooler_cheap spooler_external spooler_harakiri \
         spooler_import touch_spoolers_reload mules farm mule_harakiri mule_reload_mercy \
         touch_mules_reload signal timer signal_timer rbtimer signal_rbtimer",
        "use a task queue: there is no module uwsgi",
    ),
    ("cron2 unique_cron legion_cron cron_harakiri", "use cron, or a timer of systemd"),
    (
        "attach_daemon2 attach_control_daemon smart_attach_daemon smart_attach_daemon2 \
         legion_attach_daemon worker_exec",
        "start it as a service of its own, with systemd for example",
    ),
    (
        "cache cache2 cache_blocksize cache_store cache_expire_freq queue queue_blocksize \
         sharedarea locks lock_engine enable_metrics metric rpc_max",
        "use Redis or a database: there is no module uwsgi",
    ),
    (
        "route route_host route_uri route_qs route_if route_if_not route_run route_label \
         route_remote_addr route_remote_user route_user_agent route_referer final_route \
         error_route error_route_status response_route response_route_status error_page_403 \
         error_page_404 error_page_500",
        "write the rule in the proxy, or in a middleware of the application",
    ),
    (
        "add_header rem_header del_header collect_header response_header_collect pull_header",
        "set header fields in the application or in the proxy",
    ),
    (
        "limit_as limit_nproc reload_on_as evil_reload_on_as reload_on_uss reload_on_pss \
         never_swap ksm",
        "limit memory with --max-worker-rss, or with MemoryMax= of systemd",
    ),
    (
        "chroot pivot_root unshare unshare2 cap cgroup cgroup_opt namespace jail setns \
         cpu_affinity prio add_gid drop_after_init drop_after_apps master_as_root immediate_uid \
         immediate_gid",
        "write it into the service of systemd, or let a container do it",
    ),
    (
        "exec_asap exec_pre_jail exec_post_jail exec_as_root exec_as_user exec_as_user_atexit \
         exec_pre_app exec_post_app wait_for_interface wait_for_fs wait_for_file wait_for_dir \
         wait_for_socket wait_for_mountpoint",
        "run it before the server: ExecStartPre= of systemd, or the container's entry point",
    ),
    (
        "hook_asap hook_pre_app hook_post_app hook_post_fork hook_accepting hook_accepting1_once \
         hook_as_root hook_as_user hook_as_user_atexit hook_master_start hook_touch \
         after_request_hook after_request_call",
        "use ExecStartPre= of systemd, or a hook of a gunicorn configuration (-c FILE)",
    ),
    (
        "subscribe_to subscribe subscribe2 fastrouter rawrouter sslrouter httprouter \
         http_subscription_server legion legion_node zerg zerg_server http_zerg http_fallback \
         emperor_tyrant emperor_stats emperor_nofollow vassals_include vassals_inherit \
         vassal_set vassals_set heartbeat",
        "let a load balancer distribute the requests, such as nginx or HAProxy",
    ),
    ("vhost vhost_host dynamic_apps", "start one server for each application"),
    (
        "import pyimport py_import python_import shared_import shared_pyimport pymodule_alias \
         eval pyrun python pyargv py_tracebacker early_pyimport",
        "let the application's module do it",
    ),
    ("chdir2 force_cwd", "write --chdir DIR, or call os.chdir() in the application"),
    ("optimize", "set PYTHONOPTIMIZE in the server's environment"),
    (
        "py_executable py_sys_executable py_programname py_program_name python_worker_override",
        "run the rustwsgi of that environment",
    ),
    (
        "static_expires_type static_expires_type_mtime static_expires_uri \
         static_expires_uri_mtime static_expires_path_info static_expires_mtime",
        "write --static-max-age SECONDS; files with a hash in their names may be kept for a year",
    ),
    (
        "static_gzip static_gzip_all static_gzip_dir static_gzip_prefix static_gzip_ext \
         static_gzip_suffix",
        "remove it: a file with .br or .gz beside a static file is used",
    ),
    (
        "static_safe static_skip_ext static_cache_paths static_cache_paths_name \
         check_static_docroot check_cache",
        "write --static URL=DIR only for directories whose files are public",
    ),
    ("http_auto_gzip", "compress in the proxy, or in a middleware of the application"),
    (
        "http_websockets websockets_ping_freq websockets_pong_tolerance websockets_max_size",
        "WebSockets need a library that takes the connection, such as flask-sock",
    ),
    ("http_headers_timeout", "write --header-timeout SECONDS"),
    (
        "http_connect_timeout http_buffer_size http_harakiri http_resubscribe http_gracetime \
         http_cheap http_quiet http_use_cache http_use_pattern http_use_base http_var \
         http_post_buffering http_post_buffering_dir http_manage_source http_manage_rtsp",
        "remove it: no router is between the clients and the workers",
    ),
    (
        "post_buffering_bufsize body_read_warning upload_progress chunked_input_limit \
         chunked_input_timeout",
        "see --body-timeout: bodies are received before the application is called",
    ),
    (
        "harakiri_graceful_timeout harakiri_graceful_signal harakiri_queue_threshold",
        "--timeout interrupts only the one request, without a signal",
    ),
    (
        "min_worker_lifetime max_worker_lifetime_delta forkbomb_delay check_interval",
        "see --max-worker-lifetime; workers that crash are replaced at a bounded rate",
    ),
    (
        "reload_on_exception reload_on_exception_type reload_on_exception_value \
         catch_exceptions exception_handler",
        "handle exceptions in the application; the error log has their tracebacks",
    ),
    (
        "thread_stacksize threads_stacksize thread_stack_size threads_stack_size",
        "call threading.stack_size() when the application is imported",
    ),
    ("envdir early_envdir unenv", "set the variables before the start, or with --env KEY=VALUE"),
    (
        "gevent_monkey_patch gevent_early_monkey_patch gevent_wait_for_hub greenlet ugreen \
         tornado",
        "green threads are not supported: write --threads N",
    ),
    (
        "freebind map_socket abstract_socket tcp_fast_open tcp_fastopen socket_sndbuf \
         socket_rcvbuf so_send_timeout udp undeferred_shared_socket",
        "sockets have no such option here",
    ),
    (
        "sni sni_dir sni_regexp ssl_option ssl_enable_tlsv1 ssl_session_use_cache \
         ssl_sessions_use_cache ssl_sessions_timeout ssl_verbose https2 https_export_cert \
         https_session_context",
        "write --certfile FILE --keyfile FILE, once for each certificate",
    ),
    (
        "fastcgi_socket scgi_socket raw_socket suwsgi_socket ssl_socket puwsgi_socket \
         socket_protocol http_socket_modifier1",
        "only HTTP is supported: let the proxy use it (proxy_pass in nginx)",
    ),
    ("max_vars", "write --limit-request-fields N"),
    (
        "no_default_app ignore_script_name wsgi_strict wsgi_lite pump web3 pecan paste_logger \
         paste_name dlopen worker_mount",
        "name the application as MODULE:NAME; its module can load what it needs",
    ),
    ("wsgi_disable_file_wrapper", "remove it: wsgi.file_wrapper sends files without copying them"),
    ("safe_pidfile safe_pidfile2 pidfile2", "write --pid FILE"),
    (
        "emperor_pidfile safe_fd fd_safe umount_asap mount_asap",
        "let systemd or the container do it",
    ),
];

/// What to use instead of this option.
pub(super) fn counterpart(name: &str) -> Option<&'static str> {
    let has = |names: &str| names.split(' ').any(|other| other == name);
    RARE.iter().find(|(names, _)| has(names)).map(|&(_, advice)| advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::compat::{gunicorn, others, uwsgi};
    use crate::config::options;

    /// The parser and the other tables take precedence.
    #[test]
    fn option_of_this_table_is_in_no_other() {
        let mut seen = Vec::new();
        for name in RARE.iter().flat_map(|(names, _)| names.split(' ')) {
            assert!(options::find(name).is_none(), "{name}");
            assert!(gunicorn::counterpart(name).is_none(), "{name}");
            assert!(others::counterpart(name).is_none(), "{name}");
            let known = uwsgi::counterparts().any(|(names, _)| names.contains(&name));
            assert!(!known && !seen.contains(&name), "{name}");
            seen.push(name);
        }
    }

    #[test]
    fn option_named_in_advice_exists() {
        for (_, advice) in RARE {
            let words = advice.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            for option in words.filter_map(|word| word.strip_prefix("--")) {
                assert!(options::find(option).is_some(), "--{option}");
            }
        }
    }
}
