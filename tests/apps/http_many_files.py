"""Has more files open than select(2) can number before the server starts."""

import os
import resource

from echo import reply

_hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (_hard if 0 < _hard < 2000 else 2000, _hard))
FILES = [open(os.devnull) for _ in range(1100)]


def app(environ, start_response):
    return reply(start_response, b"%d files" % len(FILES))
