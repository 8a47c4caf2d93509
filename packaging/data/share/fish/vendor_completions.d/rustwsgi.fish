complete -c rustwsgi -s c -l config -d 'Read options from this file: TOML if its name ends in .toml, else a gunicorn configuration, which may also be a module, python:NAME. What it does not set may be set by ./rustwsgi.toml, or [tool.rustwsgi] in ./pyproject.toml. Without all three ./gunicorn.conf.py is read' -r -F
complete -c rustwsgi -l chdir -d 'Change to this directory before the application is loaded' -r -F
complete -c rustwsgi -l pythonpath -d 'Directories to put in front of Python\'s module search path, separated by commas' -r -F
complete -c rustwsgi -s e -l env -d 'Set an environment variable for the application (repeatable)' -r
complete -c rustwsgi -l venv -d 'The virtual environment to take packages from; only the stand-alone binary needs it [default: $VIRTUAL_ENV, then ./.venv]' -r -F
complete -c rustwsgi -s b -l bind -d 'Where to listen: HOST:PORT, :PORT (all interfaces), [IPV6]:PORT, unix:PATH or fd://N (repeatable) [default: 127.0.0.1:8000, or 0.0.0.0:$PORT if PORT is set]' -r
complete -c rustwsgi -l forwarded-allow-ips -d 'Proxies whose X-Forwarded-Proto is believed: addresses or networks, separated by commas, * for all, or nothing; clients of a unix socket always are' -r
complete -c rustwsgi -l backlog -d 'Connections the kernel may hold until they are accepted' -r
complete -c rustwsgi -l threads -d 'Threads that run the application; 0 is 1, as with gunicorn [default: 4]' -r
complete -c rustwsgi -s w -l workers -d 'Worker processes [default: $WEB_CONCURRENCY, else 1]' -r
complete -c rustwsgi -s p -l pid -d 'Write the master\'s process number to this file' -r -F
complete -c rustwsgi -l reload-strategy -d 'How a reload replaces workers: all (start all new ones, then stop the old), or rolling (one at a time, which needs memory for one more worker only)' -r -f -a "all\t'Old workers go when all new ones are ready'
rolling\t'One old worker goes for each new one that is ready'"
complete -c rustwsgi -l reload-extra-file -d 'Another file that --reload looks at (repeatable)' -r -F
complete -c rustwsgi -l max-requests -d 'Requests after which a worker is replaced; 0 is never' -r
complete -c rustwsgi -l max-requests-jitter -d 'Up to so many more requests, chosen at random, so that workers are not replaced at once' -r
complete -c rustwsgi -l max-worker-lifetime -d 'Seconds after which a worker is replaced; 0 is never' -r
complete -c rustwsgi -l max-worker-rss -d 'Memory (its resident set) at which a worker is replaced; 0 is any' -r
complete -c rustwsgi -s u -l user -d 'Serve as this user, by name or number; the master keeps its own' -r
complete -c rustwsgi -s g -l group -d 'Serve as this group, by name or number [default: the user\'s]' -r
complete -c rustwsgi -s m -l umask -d 'The permissions that new files do not get, in octal' -r
complete -c rustwsgi -s n -l name -d 'What process lists show [default: the application]' -r
complete -c rustwsgi -s k -l worker-class -d 'For gunicorn\'s users: gthread, or sync, which is one thread unless --threads is given' -r
complete -c rustwsgi -l worker-connections -d 'Connections that one worker may hold; beyond it, the one that has been idle longest is closed' -r
complete -c rustwsgi -s t -l timeout -d 'For the application to answer a request; 0 is no limit. What takes longer is interrupted by an exception in its thread' -r
complete -c rustwsgi -l boot-timeout -d 'For the application to be imported and a worker to be ready' -r
complete -c rustwsgi -l graceful-timeout -d 'For running requests to finish after the order to stop; 0 does not wait for them' -r
complete -c rustwsgi -l keep-alive -d 'For the next request on an idle connection; 0 closes connections after each response' -r
complete -c rustwsgi -l header-timeout -d 'For a request\'s head to arrive, from its first byte to its last' -r
complete -c rustwsgi -l body-timeout -d 'For the next bytes of a request\'s body to arrive' -r
complete -c rustwsgi -l body-min-rate -d 'Bytes per second that a request\'s body has to arrive with on average; 0 is any' -r
complete -c rustwsgi -l write-timeout -d 'For the client to take the next bytes of a response' -r
complete -c rustwsgi -l queue-timeout -d 'For a complete request to get a thread; after that the client is answered 503' -r
complete -c rustwsgi -l limit-request-line -d 'The request line; 0 leaves it to --limit-request-head' -r
complete -c rustwsgi -l limit-request-fields -d 'The number of fields in a request\'s head; 0, and all above, is the most possible, 32768' -r
complete -c rustwsgi -l limit-request-field-size -d 'One field of a request\'s head; 0 leaves it to --limit-request-head' -r
complete -c rustwsgi -l limit-request-head -d 'A request\'s head: its request line and all its fields' -r
complete -c rustwsgi -l limit-request-body -d 'A request\'s body; 0 is no limit' -r
complete -c rustwsgi -l limit-chunk-extension -d 'The extensions of one chunk of a body; 0 allows none' -r
complete -c rustwsgi -l limit-trailers -d 'The trailer fields after a body; 0 allows none' -r
complete -c rustwsgi -l header-map -d 'What happens to a field with an underscore in its name, which WSGI cannot tell from a hyphen: drop the field, or refuse the request' -r
complete -c rustwsgi -l body-buffer-size -d 'How much of a request\'s body is held in memory; more goes to a temporary file' -r
complete -c rustwsgi -l limit-queue -d 'Complete requests that may wait for a thread of one worker; the next is answered 503' -r
complete -c rustwsgi -l limit-memory -d 'What one worker may hold in buffers for requests and responses; over it, requests are answered 503; 0 is no limit' -r
complete -c rustwsgi -l limit-spool -d 'What one worker may hold in temporary files for request bodies; 0 is no limit' -r
complete -c rustwsgi -l access-logfile -d 'Write an access log to this file, or to standard output with -' -r -F
complete -c rustwsgi -l access-logformat -d 'The access log\'s lines: common, combined (gunicorn\'s default), json, or gunicorn\'s atoms such as \'%(h)s %(r)s %(s)s\'' -r
complete -c rustwsgi -l error-logfile -l log-file -d 'Write the error log to this file, or to standard error with -' -r -F
complete -c rustwsgi -l log-level -d 'The least important messages to log: debug, info, warning, error or critical' -r
complete -c rustwsgi -l factory -d 'NAME in MODULE:NAME is a factory that returns the application'
complete -c rustwsgi -l check-config -d 'Load the application, and exit with 0 if that works'
complete -c rustwsgi -l print-config -d 'Print the settings that result from all options, and exit'
complete -c rustwsgi -l preload -d 'Import the application once, in the master, before the workers are forked: saves memory and time, but a reload does not import it again'
complete -c rustwsgi -l no-gc-freeze -d 'Leave what was imported to Python\'s garbage collector, which otherwise looks only at what comes later (gc.freeze)'
complete -c rustwsgi -l reload -d 'Start new workers when a source file changes; for development'
complete -c rustwsgi -s D -l daemon -d 'Leave the terminal and go on in the background'
complete -c rustwsgi -s V -l version -d 'Print version'
complete -c rustwsgi -s h -l help -d 'Print help'
