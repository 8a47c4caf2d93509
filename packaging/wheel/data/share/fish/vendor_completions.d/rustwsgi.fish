# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_rustwsgi_global_optspecs
    string join \n c/config= factory paste= paste-global= chdir= pythonpath= e/env= venv= check-config print-config b/bind= forwarded-allow-ips= forwarded-headers= forwarded-untrusted= proxy-protocol= proxy-allow-from= forwarder-headers= backlog= reuse-port static= static-fallback= static-max-age= static-index= sendfile-root= certfile= keyfile= ca-certs= cert-reqs= ca-crl= tls-min-version= acme-domain= acme-email= acme-directory= acme-cache= insecure-bind= redirect-bind= http-protocols= http2-cleartext= http2-max-concurrent-streams= http2-initial-window-size= http2-max-frame-size= http2-max-header-list-size= w/workers= threads= k/worker-class= worker-connections= preload no-gc-freeze reload-strategy= replace= respawn-canary= max-requests= max-requests-jitter= max-worker-lifetime= max-worker-rss= t/timeout= boot-timeout= graceful-timeout= keep-alive= handshake-timeout= header-timeout= body-timeout= body-min-rate= write-timeout= write-min-rate= queue-timeout= limit-request-line= limit-request-fields= limit-request-field-size= limit-request-head= limit-request-body= limit-chunk-extension= limit-trailers= header-map= request-buffering= body-buffer-size= response-spool= limit-queue= max-upgrades= limit-memory= limit-spool= access-logfile= access-logformat= access-log-exclude= error-logfile= log-level= log-format= log-python log-config= log-config-json= log-syslog log-syslog-to= log-syslog-prefix= log-syslog-facility= disable-redirect-access-to-syslog statsd-host= statsd-prefix= dogstatsd-tags= metrics= ready-busy= health-path= control-socket= control-socket-mode= request-id-header= server-timing slow-request= p/pid= u/user= g/group= m/umask= n/name= D/daemon reload reload-extra-file= V/version h/help
end

function __fish_rustwsgi_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_rustwsgi_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_rustwsgi_using_subcommand
    set -l cmd (__fish_rustwsgi_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -s c -l config -d 'Configuration file: TOML if its name ends in .toml, otherwise a gunicorn configuration (or python:MODULE)' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l paste -d 'Serve the application of a PasteDeploy file, after its logging configuration' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l paste-global -d 'Variable of the PasteDeploy file (repeatable)' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l chdir -d 'Change to this directory before loading the application' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l pythonpath -d 'Directories to prepend to Python\'s module search path, separated by commas' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -s e -l env -d 'Environment variable to set for the application (repeatable)' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l venv -d 'Virtual environment to import packages from; only for the standalone binary [default: $VIRTUAL_ENV, then ./.venv]' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -s b -l bind -d 'Address to listen on: HOST:PORT, :PORT (all interfaces), [IPV6]:PORT, unix:PATH or fd://N (repeatable) [default: 127.0.0.1:8000, or 0.0.0.0:$PORT if PORT is set]' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l forwarded-allow-ips -d 'Proxies whose --forwarded-headers and --forwarder-headers are trusted: addresses, networks, * for all, or nothing; Unix sockets are always trusted' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l forwarded-headers -d 'Fields of trusted proxies that are applied: any of for, proto, host, port, prefix (X-Forwarded-...), or forwarded (RFC 7239), or nothing' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l forwarded-untrusted -d 'X-Forwarded-... and Forwarded of peers that are not trusted: keep them for the application, or strip them' -r -f -a "keep\t''
strip\t''"
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l proxy-protocol -d 'Connections of --proxy-allow-from begin with a header of the PROXY protocol: off, v1, v2, or auto for either (also the option without a value)' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l proxy-allow-from -d 'Proxies that send a header of the PROXY protocol: addresses, networks, * for all, or nothing; peers on Unix sockets always send it' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l forwarder-headers -d 'Header fields with an underscore that proxies of --forwarded-allow-ips may set: SCRIPT_NAME is the application\'s prefix in the URL, any other field becomes HTTP_NAME; * for all, or nothing' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l backlog -d 'Maximum number of pending connections in the listen queue' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l static -d 'Serve the files below DIR at URL, without the application (repeatable); auto takes both from Django\'s STATIC_URL and STATIC_ROOT, or from Flask\'s application' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l static-fallback -d 'Response for a path below a URL of --static that is no file: 404, or the application\'s' -r -f -a "404\t''
app\t''"
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l static-max-age -d 'Seconds for which clients may use a static file without asking again; a file with a content hash in its name may be used for a year' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l static-index -d 'The static file to serve for a directory, such as index.html [default: none]' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l sendfile-root -d 'Send the file below DIR that the application names in X-Sendfile or X-Accel-Redirect (repeatable)' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l certfile -d 'Certificate chain in the PEM format: every TCP address of --bind then speaks HTTPS (repeatable: chosen by the name that a client asks for, else the first)' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l keyfile -d 'Key of the certificate in the PEM format, without a passphrase [default: it is in --certfile] (repeatable: one for each --certfile)' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l ca-certs -d 'Certificates of the authorities that sign the clients\' certificates, in PEM' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l cert-reqs -d 'Whether clients need a certificate: none, optional or required (also 0, 1 and 2); optional and required refuse one that cannot be verified' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l ca-crl -d 'Revocation lists of all authorities in a client\'s chain, in PEM' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l tls-min-version -d 'Oldest version of TLS: 1.2 or 1.3' -r -f -a "1.2\t''
1.3\t''"
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l acme-domain -d 'Order and renew a certificate for this name with ACME, and accept the terms of the authority (repeatable: one certificate for all names)' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l acme-email -d 'Mail address at which the ACME authority may reach the operator' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l acme-directory -d 'Directory of the ACME authority' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l acme-cache -d 'Directory of the ACME account, certificate and state, which no other user may read [default: acme in $STATE_DIRECTORY, else rustwsgi/acme in $XDG_DATA_HOME or ~/.local/share]' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l insecure-bind -d 'Address of plain HTTP beside HTTPS (repeatable)' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l redirect-bind -d 'Address that redirects every request to HTTPS with 308 (repeatable)' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l http-protocols -d 'Protocols of HTTPS: h1; h2,h1 for HTTP/2 with the clients that know it; h2 refuses the others' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l http2-cleartext -d 'How peers in --forwarded-allow-ips, and those on unix sockets, may begin HTTP/2 without TLS: off, prior-knowledge, upgrade or both' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l http2-max-concurrent-streams -d 'Maximum number of streams that a client of HTTP/2 has open at a time' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l http2-initial-window-size -d 'Bytes of a request body that a client of HTTP/2 sends before some are taken' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l http2-max-frame-size -d 'Maximum size of a frame that a client of HTTP/2 sends' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l http2-max-header-list-size -d 'Maximum size of a request head of HTTP/2, as decompressed; the other limits also apply' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -s w -l workers -d 'Number of worker processes; auto is one for each CPU that may be used: CPU affinity and cgroup quota [default: $WEB_CONCURRENCY, else 1]' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l threads -d 'Number of threads per worker that run the application; 0 means 1, as with gunicorn [default: 4]' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -s k -l worker-class -d 'Worker class, for compatibility with gunicorn: gthread, or sync (one thread unless --threads is given)' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l worker-connections -d 'Maximum number of connections per worker; beyond it, an idle one is closed, or one whose request is incomplete' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l reload-strategy -d 'How a reload replaces workers: all at once, or rolling (one by one, which needs less memory)' -r -f -a "all\t''
rolling\t''"
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l replace -d 'How a worker is replaced in a reload or in recycling: it ends when its successor is ready, or before that starts (for an application that takes a port or a lock)' -r -f -a "ready-first\t''
stop-first\t''"
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l respawn-canary -d 'Let a reload first start one new worker, which serves for this time beside the old ones: if it cannot boot, or more of its responses are 5xx than theirs, the reload is rolled back; 0 starts all new workers at once' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l max-requests -d 'Maximum number of requests a worker handles before it is replaced (it handles a few more until its replacement is ready); 0 is no limit' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l max-requests-jitter -d 'Maximum random number of requests to add to --max-requests, so that workers are not replaced at the same time' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l max-worker-lifetime -d 'Maximum lifetime of a worker before it is replaced; 0 is no limit' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l max-worker-rss -d 'Maximum resident set size of a worker before it is replaced; 0 is no limit' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -s t -l timeout -d 'Maximum time for the application to handle a request; then the client gets 504, and an exception interrupts the thread; 0 is no limit' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l boot-timeout -d 'Maximum time for a worker to import the application and become ready' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l graceful-timeout -d 'Maximum time for requests in progress to finish at shutdown; 0 does not wait' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l keep-alive -d 'Time to wait for the next request on an idle connection; 0 closes connections after each response' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l handshake-timeout -d 'Maximum time for a client to complete the TLS handshake' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l header-timeout -d 'Maximum time to receive a request head, from its first byte to its last' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l body-timeout -d 'Maximum time to wait for the next bytes of a request body' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l body-min-rate -d 'Minimum average rate of a request body, in bytes per second; 0 is no minimum' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l write-timeout -d 'Maximum time for the client to receive the next bytes of a response' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l write-min-rate -d 'Minimum average rate at which a client reads a response, in bytes per second; 0 is no minimum' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l queue-timeout -d 'Maximum time for a request to wait for a thread; then it is rejected with 503' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l limit-request-line -d 'Maximum size of a request line; 0 means --limit-request-head' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l limit-request-fields -d 'Maximum number of header fields; 0, or more than 32768, means 32768' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l limit-request-field-size -d 'Maximum size of a header field; 0 means --limit-request-head' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l limit-request-head -d 'Maximum size of a request head: the request line and all header fields' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l limit-request-body -d 'Maximum size of a request body; 0 is no limit' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l limit-chunk-extension -d 'Maximum size of the extensions of a chunk; 0 allows none' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l limit-trailers -d 'Maximum size of the trailer fields of a request; 0 allows none' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l header-map -d 'Handling of field names with underscores, which equal hyphens in WSGI: drop the field, or refuse the request' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l request-buffering -d 'Whether a request body is received completely before the application is called; with off, reads of wsgi.input wait until the bytes have arrived' -r -f -a "on\t''
off\t''"
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l body-buffer-size -d 'Maximum size of a request body in memory; a larger one goes to a temporary file' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l response-spool -d 'Maximum size of the temporary files of a response that its client reads slowly; beyond it, the application waits for the client; 0 uses no files' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l limit-queue -d 'Maximum number of requests per worker that wait for a thread; further ones are rejected with 503' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l max-upgrades -d 'Maximum number of requests per worker that have taken their connections, as for WebSockets; each has a thread beside --threads; further ones get 503; 0 offers no sockets' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l limit-memory -d 'Maximum memory per worker for buffers of requests and responses; beyond it, requests get 503; 0 is no limit' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l limit-spool -d 'Maximum size per worker of temporary files for request bodies and responses; 0 is no limit' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l access-logfile -d 'Access log file; - is stdout' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l access-logformat -d 'Access log format: common, combined (gunicorn\'s default), json, or gunicorn\'s atoms, such as \'%(h)s %(r)s %(s)s\'' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l access-log-exclude -d 'Do not log requests whose path matches, such as ^/healthz$, unless the status is 400 or higher (repeatable)' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l error-logfile -l log-file -d 'Error log file; - is stderr' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l log-level -d 'Lowest level of messages to log: debug, info, warning, error or critical' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l log-format -d 'Form of the error log: text, or json with one object a message' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l log-config -d 'Configure Python\'s logging from a file of its own format; implies --log-python' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l log-config-json -d 'Configure Python\'s logging from a dictConfig in JSON; implies --log-python' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l log-syslog-to -d 'Address of syslog: unix://PATH, unix://PATH#dgram, unix://PATH#stream, udp://HOST:PORT or tcp://HOST:PORT' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l log-syslog-prefix -d 'Name of the program in syslog, behind \'gunicorn.\'; by default that of the process' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l log-syslog-facility -d 'Facility of syslog messages: user, daemon, local0 to local7 and others' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l statsd-host -d 'Send gunicorn\'s metrics of each request to statsd at HOST:PORT or unix://PATH (gunicorn.requests, gunicorn.request.duration and others)' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l statsd-prefix -d 'What is in front of the names of metrics; a full stop is added' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l dogstatsd-tags -d 'Tags of Datadog for all metrics, such as env:prod,service:shop' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l metrics -d 'Address at which the master answers /metrics (Prometheus), /live, /ready, /status (JSON) and / (a live page), without Python; it shows the targets of requests, so keep it private' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l ready-busy -d 'Let /ready answer 503 when all threads of all workers have been busy for this time; 0 never does' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l health-path -d 'Path of the application\'s addresses that workers answer with 200 without Python, also while all threads are busy, such as /healthz' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l control-socket -d 'Unix socket at which the master answers rustwsgi ctl, without Python: status, stacks, profiles, reload, stop and more' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l control-socket-mode -d 'Permissions of the control socket: processes that may write to it control the server' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l request-id-header -d 'Header field of request ids, such as X-Request-ID: taken from the peers of --forwarded-allow-ips, or made; in the environ, in both logs and in the response' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l slow-request -d 'Log one line for each request that runs longer than this time, with its phases and its Python stack, without interrupting it; 0 never does' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -s p -l pid -d 'PID file of the master' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -s u -l user -d 'User to run workers as, by name or number; the master keeps its own' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -s g -l group -d 'Group to run workers as, by name or number [default: the user\'s]' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -s m -l umask -d 'File mode creation mask, in octal' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -s n -l name -d 'Process name [default: the application]' -r
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l reload-extra-file -d 'Additional file, directory or pattern (\'conf/*.yml\', \'**/*.txt\') to watch with --reload (repeatable)' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l factory -d 'Treat NAME in MODULE:NAME as a factory that returns the application'
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l check-config -d 'Load the application and exit, with status 0 if that succeeds'
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l print-config -d 'Print the settings that result from all options, and exit'
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l reuse-port -d 'Set SO_REUSEPORT: other servers of the same user may listen on the same address'
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l preload -d 'Import the application before forking the workers; saves memory, but a reload does not import it again'
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l no-gc-freeze -d 'Do not call gc.freeze() after the import, so that imported objects are garbage-collected as usual'
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l log-python -d 'Pass the lines of workers through Python\'s loggers gunicorn.error and gunicorn.access, which takes the interpreter'
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l log-syslog -d 'Send the error log and the access log to syslog as well'
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l disable-redirect-access-to-syslog -d 'Send only the error log to syslog'
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l server-timing -d 'Add the field Server-Timing to responses: the time in the queue and in the application, which every client sees then'
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -s D -l daemon -d 'Detach from the terminal and run in the background'
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -l reload -d 'Restart workers when a source file or template changes; for development'
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -s V -l version -d 'Print version'
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -s h -l help -d 'Print help'
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -a "ctl" -d 'Shows and controls a running server'
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -a "top" -d 'Shows the workers of a running server and their requests, live'
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -a "convert" -d 'Print a rustwsgi.toml for another server\'s file'
complete -c rustwsgi -n "__fish_rustwsgi_needs_command" -a "init" -d 'Print a file for systemd, a proxy or containers'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and not __fish_seen_subcommand_from status requests stacks profile workers reload reopen stop" -l control-socket -d 'The server\'s --control-socket [default: RUSTWSGI_CONTROL_SOCKET]' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and not __fish_seen_subcommand_from status requests stacks profile workers reload reopen stop" -l metrics -d 'The server\'s --metrics, for status and requests [default: RUSTWSGI_METRICS]' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and not __fish_seen_subcommand_from status requests stacks profile workers reload reopen stop" -l timeout -d 'Give up after this time [default: 10 s; reload and stop wait for their end]' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and not __fish_seen_subcommand_from status requests stacks profile workers reload reopen stop" -l json -d 'Print JSON'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and not __fish_seen_subcommand_from status requests stacks profile workers reload reopen stop" -s h -l help -d 'Print help'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and not __fish_seen_subcommand_from status requests stacks profile workers reload reopen stop" -f -a "status" -d 'Show the server and its workers'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and not __fish_seen_subcommand_from status requests stacks profile workers reload reopen stop" -f -a "requests" -d 'Show the requests that run or wait, the oldest first'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and not __fish_seen_subcommand_from status requests stacks profile workers reload reopen stop" -f -a "stacks" -d 'Show the Python stacks of all threads, with their requests'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and not __fish_seen_subcommand_from status requests stacks profile workers reload reopen stop" -f -a "profile" -d 'Sample the Python stacks of all threads, 100 times a second'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and not __fish_seen_subcommand_from status requests stacks profile workers reload reopen stop" -f -a "workers" -d 'Change the number of workers'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and not __fish_seen_subcommand_from status requests stacks profile workers reload reopen stop" -f -a "reload" -d 'Reload, and wait for the outcome'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and not __fish_seen_subcommand_from status requests stacks profile workers reload reopen stop" -f -a "reopen" -d 'Reopen the log files'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and not __fish_seen_subcommand_from status requests stacks profile workers reload reopen stop" -f -a "stop" -d 'Stop gracefully, and wait for the end'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from status" -l control-socket -d 'The server\'s --control-socket [default: RUSTWSGI_CONTROL_SOCKET]' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from status" -l metrics -d 'The server\'s --metrics, for status and requests [default: RUSTWSGI_METRICS]' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from status" -l timeout -d 'Give up after this time [default: 10 s; reload and stop wait for their end]' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from status" -l json -d 'Print JSON'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from requests" -l control-socket -d 'The server\'s --control-socket [default: RUSTWSGI_CONTROL_SOCKET]' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from requests" -l metrics -d 'The server\'s --metrics, for status and requests [default: RUSTWSGI_METRICS]' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from requests" -l timeout -d 'Give up after this time [default: 10 s; reload and stop wait for their end]' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from requests" -l json -d 'Print JSON'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from requests" -s h -l help -d 'Print help'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from stacks" -l control-socket -d 'The server\'s --control-socket [default: RUSTWSGI_CONTROL_SOCKET]' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from stacks" -l metrics -d 'The server\'s --metrics, for status and requests [default: RUSTWSGI_METRICS]' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from stacks" -l timeout -d 'Give up after this time [default: 10 s; reload and stop wait for their end]' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from stacks" -l json -d 'Print JSON'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from stacks" -s h -l help -d 'Print help'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from profile" -s o -l output -d 'Write a flame graph (.svg), collapsed stacks (.txt, .folded) or a file for speedscope (.json) [default: print the functions that take longest]' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from profile" -l worker -d 'The pid of the worker to profile [default: all]' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from profile" -l control-socket -d 'The server\'s --control-socket [default: RUSTWSGI_CONTROL_SOCKET]' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from profile" -l metrics -d 'The server\'s --metrics, for status and requests [default: RUSTWSGI_METRICS]' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from profile" -l timeout -d 'Give up after this time [default: 10 s; reload and stop wait for their end]' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from profile" -l json -d 'Print JSON'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from profile" -s h -l help -d 'Print help'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from workers" -l control-socket -d 'The server\'s --control-socket [default: RUSTWSGI_CONTROL_SOCKET]' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from workers" -l metrics -d 'The server\'s --metrics, for status and requests [default: RUSTWSGI_METRICS]' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from workers" -l timeout -d 'Give up after this time [default: 10 s; reload and stop wait for their end]' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from workers" -l json -d 'Print JSON'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from workers" -s h -l help -d 'Print help'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from reload" -l control-socket -d 'The server\'s --control-socket [default: RUSTWSGI_CONTROL_SOCKET]' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from reload" -l metrics -d 'The server\'s --metrics, for status and requests [default: RUSTWSGI_METRICS]' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from reload" -l timeout -d 'Give up after this time [default: 10 s; reload and stop wait for their end]' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from reload" -l json -d 'Print JSON'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from reload" -s h -l help -d 'Print help'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from reopen" -l control-socket -d 'The server\'s --control-socket [default: RUSTWSGI_CONTROL_SOCKET]' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from reopen" -l metrics -d 'The server\'s --metrics, for status and requests [default: RUSTWSGI_METRICS]' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from reopen" -l timeout -d 'Give up after this time [default: 10 s; reload and stop wait for their end]' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from reopen" -l json -d 'Print JSON'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from reopen" -s h -l help -d 'Print help'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from stop" -l control-socket -d 'The server\'s --control-socket [default: RUSTWSGI_CONTROL_SOCKET]' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from stop" -l metrics -d 'The server\'s --metrics, for status and requests [default: RUSTWSGI_METRICS]' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from stop" -l timeout -d 'Give up after this time [default: 10 s; reload and stop wait for their end]' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from stop" -l json -d 'Print JSON'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand ctl; and __fish_seen_subcommand_from stop" -s h -l help -d 'Print help'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand top" -l control-socket -d 'The server\'s --control-socket [default: RUSTWSGI_CONTROL_SOCKET]' -r -F
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand top" -l metrics -d 'The server\'s --metrics, for status and requests [default: RUSTWSGI_METRICS]' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand top" -l interval -d 'Seconds from one state to the next' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand top" -s h -l help -d 'Print help'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand convert" -l from -d 'Format of the file' -r -f -a "uwsgi\t''
gunicorn\t''
waitress\t''
mod_wsgi\t''
procfile\t''
systemd\t''
dockerfile\t''
shell\t''"
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand convert" -s h -l help -d 'Print help'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand init" -l name -d 'Name of the service' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand init" -l user -d 'User of the service' -r
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand init" -l socket -d 'Print the socket unit of systemd'
complete -c rustwsgi -n "__fish_rustwsgi_using_subcommand init" -s h -l help -d 'Print help'
