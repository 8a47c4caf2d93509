complete -c rustwsgi -s c -l config -d 'Configuration file: TOML if its name ends in .toml, otherwise a gunicorn configuration (or python:MODULE)' -r -F
complete -c rustwsgi -l chdir -d 'Change to this directory before loading the application' -r -F
complete -c rustwsgi -l pythonpath -d 'Directories to prepend to Python\'s module search path, separated by commas' -r -F
complete -c rustwsgi -s e -l env -d 'Environment variable to set for the application (repeatable)' -r
complete -c rustwsgi -l venv -d 'Virtual environment to import packages from; only for the standalone binary [default: $VIRTUAL_ENV, then ./.venv]' -r -F
complete -c rustwsgi -s b -l bind -d 'Address to listen on: HOST:PORT, :PORT (all interfaces), [IPV6]:PORT, unix:PATH or fd://N (repeatable) [default: 127.0.0.1:8000, or 0.0.0.0:$PORT if PORT is set]' -r
complete -c rustwsgi -l forwarded-allow-ips -d 'Proxies whose X-Forwarded-Proto and --forwarder-headers are trusted: addresses, networks, * for all, or nothing; Unix sockets are always trusted' -r
complete -c rustwsgi -l forwarder-headers -d 'Header fields with an underscore that proxies of --forwarded-allow-ips may set: SCRIPT_NAME is the application\'s prefix in the URL, any other field becomes HTTP_NAME; * for all, or nothing' -r
complete -c rustwsgi -l backlog -d 'Maximum number of pending connections in the listen queue' -r
complete -c rustwsgi -s w -l workers -d 'Number of worker processes [default: $WEB_CONCURRENCY, else 1]' -r
complete -c rustwsgi -l threads -d 'Number of threads per worker that run the application; 0 means 1, as with gunicorn [default: 4]' -r
complete -c rustwsgi -s k -l worker-class -d 'Worker class, for compatibility with gunicorn: gthread, or sync (one thread unless --threads is given)' -r
complete -c rustwsgi -l worker-connections -d 'Maximum number of connections per worker; beyond it, an idle one is closed, or one whose request is incomplete' -r
complete -c rustwsgi -l reload-strategy -d 'How a reload replaces workers: all at once, or rolling (one by one, which needs less memory)' -r -f -a "all\t''
rolling\t''"
complete -c rustwsgi -l replace -d 'How a worker is replaced in a reload or in recycling: it ends when its successor is ready, or before that starts (for an application that takes a port or a lock)' -r -f -a "ready-first\t''
stop-first\t''"
complete -c rustwsgi -l max-requests -d 'Maximum number of requests a worker handles before it is replaced (checked once a second, so a worker may handle a few more); 0 is no limit' -r
complete -c rustwsgi -l max-requests-jitter -d 'Maximum random number of requests to add to --max-requests, so that workers are not replaced at the same time' -r
complete -c rustwsgi -l max-worker-lifetime -d 'Maximum lifetime of a worker before it is replaced; 0 is no limit' -r
complete -c rustwsgi -l max-worker-rss -d 'Maximum resident set size of a worker before it is replaced; 0 is no limit' -r
complete -c rustwsgi -s t -l timeout -d 'Maximum time for the application to handle a request; then the client gets 504, and an exception interrupts the thread; 0 is no limit' -r
complete -c rustwsgi -l boot-timeout -d 'Maximum time for a worker to import the application and become ready' -r
complete -c rustwsgi -l graceful-timeout -d 'Maximum time for requests in progress to finish at shutdown; 0 does not wait' -r
complete -c rustwsgi -l keep-alive -d 'Time to wait for the next request on an idle connection; 0 closes connections after each response' -r
complete -c rustwsgi -l header-timeout -d 'Maximum time to receive a request head, from its first byte to its last' -r
complete -c rustwsgi -l body-timeout -d 'Maximum time to wait for the next bytes of a request body' -r
complete -c rustwsgi -l body-min-rate -d 'Minimum average rate of a request body, in bytes per second; 0 is no minimum' -r
complete -c rustwsgi -l write-timeout -d 'Maximum time for the client to receive the next bytes of a response' -r
complete -c rustwsgi -l write-min-rate -d 'Minimum average rate at which a client reads a response, in bytes per second; 0 is no minimum' -r
complete -c rustwsgi -l queue-timeout -d 'Maximum time for a request to wait for a thread; then it is rejected with 503' -r
complete -c rustwsgi -l limit-request-line -d 'Maximum size of a request line; 0 means --limit-request-head' -r
complete -c rustwsgi -l limit-request-fields -d 'Maximum number of header fields; 0, or more than 32768, means 32768' -r
complete -c rustwsgi -l limit-request-field-size -d 'Maximum size of a header field; 0 means --limit-request-head' -r
complete -c rustwsgi -l limit-request-head -d 'Maximum size of a request head: the request line and all header fields' -r
complete -c rustwsgi -l limit-request-body -d 'Maximum size of a request body; 0 is no limit' -r
complete -c rustwsgi -l limit-chunk-extension -d 'Maximum size of the extensions of a chunk; 0 allows none' -r
complete -c rustwsgi -l limit-trailers -d 'Maximum size of the trailer fields of a request; 0 allows none' -r
complete -c rustwsgi -l header-map -d 'Handling of field names with underscores, which equal hyphens in WSGI: drop the field, or refuse the request' -r
complete -c rustwsgi -l request-buffering -d 'Whether a request body is received completely before the application is called; with off, reads of wsgi.input wait until the bytes have arrived' -r -f -a "on\t''
off\t''"
complete -c rustwsgi -l body-buffer-size -d 'Maximum size of a request body in memory; a larger one goes to a temporary file' -r
complete -c rustwsgi -l response-spool -d 'Maximum size of the temporary files of a response that its client reads slowly; beyond it, the application waits for the client; 0 uses no files' -r
complete -c rustwsgi -l limit-queue -d 'Maximum number of requests per worker that wait for a thread; further ones are rejected with 503' -r
complete -c rustwsgi -l limit-memory -d 'Maximum memory per worker for buffers of requests and responses; beyond it, requests get 503; 0 is no limit' -r
complete -c rustwsgi -l limit-spool -d 'Maximum size per worker of temporary files for request bodies and responses; 0 is no limit' -r
complete -c rustwsgi -l access-logfile -d 'Access log file; - is stdout' -r -F
complete -c rustwsgi -l access-logformat -d 'Access log format: common, combined (gunicorn\'s default), json, or gunicorn\'s atoms, such as \'%(h)s %(r)s %(s)s\'' -r
complete -c rustwsgi -l access-log-exclude -d 'Do not log requests whose path matches, such as ^/healthz$, unless the status is 400 or higher (repeatable)' -r
complete -c rustwsgi -l error-logfile -l log-file -d 'Error log file; - is stderr' -r -F
complete -c rustwsgi -l log-level -d 'Lowest level of messages to log: debug, info, warning, error or critical' -r
complete -c rustwsgi -s p -l pid -d 'PID file of the master' -r -F
complete -c rustwsgi -s u -l user -d 'User to run workers as, by name or number; the master keeps its own' -r
complete -c rustwsgi -s g -l group -d 'Group to run workers as, by name or number [default: the user\'s]' -r
complete -c rustwsgi -s m -l umask -d 'File mode creation mask, in octal' -r
complete -c rustwsgi -s n -l name -d 'Process name [default: the application]' -r
complete -c rustwsgi -l reload-extra-file -d 'Additional file, directory or pattern (\'conf/*.yml\', \'**/*.txt\') to watch with --reload (repeatable)' -r -F
complete -c rustwsgi -l factory -d 'Treat NAME in MODULE:NAME as a factory that returns the application'
complete -c rustwsgi -l check-config -d 'Load the application and exit, with status 0 if that succeeds'
complete -c rustwsgi -l print-config -d 'Print the settings that result from all options, and exit'
complete -c rustwsgi -l reuse-port -d 'Set SO_REUSEPORT: other servers of the same user may listen on the same address'
complete -c rustwsgi -l preload -d 'Import the application before forking the workers; saves memory, but a reload does not import it again'
complete -c rustwsgi -l no-gc-freeze -d 'Do not call gc.freeze() after the import, so that imported objects are garbage-collected as usual'
complete -c rustwsgi -s D -l daemon -d 'Detach from the terminal and run in the background'
complete -c rustwsgi -l reload -d 'Restart workers when a source file or template changes; for development'
complete -c rustwsgi -s V -l version -d 'Print version'
complete -c rustwsgi -s h -l help -d 'Print help'
