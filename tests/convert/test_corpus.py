"""The configurations of the corpus, written as those of well-known projects are: each of them is
converted, nothing of it is lost, and the server starts with the result."""

from __future__ import annotations

import ast
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import StartFailed
from harness.conversions import (
    CORPUS,
    FILES,
    convert_in,
    make_site,
    prepare,
    serve_converted,
    value,
    values,
)

#: Servers that run at once: each waits for its workers most of the time.
AT_ONCE = 6


class Converted(dict[str, str]):
    """The results by the names of their files, and the directory of the files."""

    site: Path


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    site = prepare(tmp_path_factory.mktemp("site"))
    results = Converted((name, convert_in(site / name)) for name in FILES)
    results.site = site
    return results


def test_corpus_is_large_enough() -> None:
    for server in ("uwsgi", "gunicorn"):
        assert sum(name.startswith(server) for name in FILES) >= 30, server


@pytest.mark.second_door("no case")
def test_server_serves_with_every_converted_file(
    door: str, converted: Converted, tmp_path: Path
) -> None:
    """Each of them starts, answers a request and stops."""
    for name, text in converted.items():
        make_site(text, (converted.site / name).parent)

    def serve(name: str) -> str:
        path = tmp_path / f"{name.replace('/', '-')}.toml"
        directory = (converted.site / name).parent
        try:
            response, log = serve_converted(door, converted[name], path, directory)
        except (AssertionError, OSError, StartFailed) as failure:
            return repr(failure)
        if (response.status, response.body) != (200, b"ok"):
            return f"{response}\n{log}"
        return log if "has no effect" in log or "[ERROR]" in log else ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = dict(zip(FILES, pool.map(serve, FILES), strict=True))
    failed = [f"{name}: {reason}" for name, reason in results.items() if reason]
    assert not failed, "\n\n".join(failed)


def option_names(name: str) -> list[str]:
    """The names of the options in a file of uWSGI."""
    text = re.sub(r"(?ms)^\[unused\].*", "", (CORPUS / name).read_text())
    if name.endswith(".xml"):
        return re.findall(r"<([\w-]+)/?>", text.partition("<uwsgi>")[2])
    if name.endswith((".yaml", ".yml")):
        return re.findall(r"(?m)^  ([\w-]+):", text)
    if name.endswith(".json"):
        return re.findall(r'"([\w-]+)":', text)[1:]
    return re.findall(r"(?m)^([a-z][\w-]*)\s*=", text)


#: Options that have an effect on others, or that a reader does not expect in the result.
STRUCTURE = {
    "ini",
    "endif",
    "endfor",
    "for",
    "else",
    "if-env",
    "if-not-env",
    "if-exists",
    "callable",
}
STRUCTURE |= {"protocol", "shared-socket"}
#: Placeholders of the corpus.
PLACEHOLDERS = {"base", "site", "owner", "project"}


@pytest.mark.parametrize(
    "name", [name for name in FILES if re.search(r"\.(ini|xml|ya?ml|json)$", name)]
)
def test_no_option_of_uwsgi_is_lost(converted: Converted, name: str) -> None:
    """Each option is named in a comment, or is one that is converted."""
    from rustwsgi.convert.uwsgi_rules import ORDERED, RENAMED, RULES

    text = converted[name]
    for option in set(option_names(name)) - STRUCTURE - PLACEHOLDERS:
        is_known = option in RENAMED or option in RULES or option in ORDERED.split()
        assert is_known or re.search(rf"(?m)^# {option}\b", text), (option, text)


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".py")])
def test_no_setting_of_gunicorn_is_lost(converted: Converted, name: str) -> None:
    from rustwsgi._options import options

    ours = {option.gunicorn: option.name for option in options().values() if option.gunicorn}
    for node in ast.parse((CORPUS / name).read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            setting = node.targets[0].id
        elif isinstance(node, ast.FunctionDef):
            setting = node.name
        else:
            continue
        if ast.unparse(node).endswith("= None"):
            continue
        is_set = re.search(rf"(?m)^{ours.get(setting, '-')} = ", converted[name])
        assert is_set or re.search(rf"(?m)^#.*\b{setting}\b", converted[name]), (
            setting,
            converted[name],
        )


@pytest.mark.parametrize("name", FILES)
def test_comment_lines_are_short_and_give_a_reason(converted: Converted, name: str) -> None:
    text = converted[name]
    lines = text.splitlines()
    assert not [line for line in lines if len(line) > 120 and line.startswith("#     ")], text
    _, _, dropped = text.partition("for which nothing was written:")
    for block in dropped.split("\n#\n")[1:]:
        option, *reason = block.strip().splitlines()
        assert option.startswith("# ") and reason and len(reason[0]) > 6, block


#: Lines that the results have.
EXPECTED = {
    "uwsgi/nginx-socket.ini": [
        'app = "shop.wsgi:application"',
        "workers = 6",
        "threads = 1",
        'umask = "002"',
        "# uWSGI spoke the uwsgi protocol here, and rustwsgi speaks HTTP",
        "# home = ",
    ],
    "uwsgi/tutorial-socket.ini": [
        'bind = ["unix:journal.sock"]',
        'app = "wsgi:app"',
        'umask = "007"',
    ],
    "uwsgi/http-router.ini": [
        'bind = [":9090"]',
        'app = "hello:app"',
        'metrics = "127.0.0.1:9191"',
    ],
    "uwsgi/container.ini": [
        'static_fallback = "app"',
        "timeout = 90",
        'limit_request_head = "16k"',
        'user = "www-data"',
        "# ignore-sigpipe = true",
    ],
    "uwsgi/cheaper.ini": [
        "workers = 24",
        'max_worker_rss = "768m"',
        "max_worker_lifetime = 7200",
        "graceful_timeout = 45",
        "# cheaper = 4",
    ],
    "uwsgi/environment.ini": [
        "# http-socket = :$PORT",
        "# processes = $APP_PROCESSES",
        'env = ["TZ=Europe/Madrid"]',
        'app = "config.wsgi:application"',
    ],
    "uwsgi/conditions.ini": ['app = "app:app"', 'bind = ["127.0.0.1:8081"]'],
    "uwsgi/includes.ini": ["workers = 2", "threads = 12", 'app = "mysite.wsgi:application"'],
    "uwsgi/sections.ini": ['app = "orders.api:create_app()"', "backlog = 512", 'name = "orders"'],
    "uwsgi/vassal.ini": ['app = "vassal:application"', "# chown-socket = nobody:www-data"],
    "uwsgi/https.ini": [
        'bind = ["0.0.0.0:8443"]',
        'redirect_bind = ["0.0.0.0:8880"]',
        "keep_alive = 20",
    ],
    "uwsgi/mounts.ini": [
        'app = "intranet:app"',
        'env = ["SCRIPT_NAME=/intranet"]',
        "# mount = /wiki",
    ],
    "uwsgi/gevent.ini": ["threads = 250", "# gevent = 250"],
    "uwsgi/daemon.ini": ["daemon = true", 'app = "forum.wsgi:application"', "timeout = 120"],
    "uwsgi/log-format.ini": [
        'access_logformat = "%(h)s - %(u)s %(t)s \\"%(m)s %({RAW_URI}e)s %(H)s\\" %(s)s %(B)s',
        "(there is no atom for wid)",
    ],
    "uwsgi/background.ini": ["# cron = 15 3", "# attach-daemon = celery", "# spooler = "],
    "uwsgi/routing.ini": [
        "static_max_age = 86400",
        "# route = ^/old/(.*) redirect:/new/$1",
        "#     static serves directories: let the proxy serve this file",
    ],
    "uwsgi/limits.ini": [
        "max_requests_jitter = 90",
        'max_worker_rss = "512m"',
        "limit_request_body = 20971520",
    ],
    "uwsgi/http-protocol.ini": ['bind = [":8103"]', 'umask = "027"', "# chmod-socket = 666"],
    "uwsgi/inline-comments.ini": ["workers = 4", "threads = 2", "reload = true"],
    "uwsgi/services.ini": ["# unbit-special = 7", "# cache2 = name=pages,items=500"],
    "uwsgi/classic.xml": ['app = "museum.wsgi:application"', "timeout = 45"],
    "uwsgi/compose.yaml": ["timeout = 15", 'env = ["MODE=demo"]', "threads = 4"],
    "uwsgi/repeated.yml": [
        'env = ["API_REGION=west", "API_LEVEL=3"]',
        "reuse_port = true",
        'umask = "077"',
    ],
    "uwsgi/service.json": ['env = ["COLOUR=blue", "SHAPE=round"]', "workers = 2"],
    "uwsgi/Dockerfile.flags": ["workers = 4", 'app = "hello:app"', "timeout = 25"],
    "uwsgi/start.sh": ["reload = true", 'app = "shop.wsgi:application"', "timeout = 180"],
    "uwsgi/Procfile.ini-file": ["workers = 3", "# http-socket = :$PORT", "# cheaper = 2"],
    "uwsgi/legacy-handler.ini": ['app = "legacy.handler:Handler()"', 'proxy_protocol = "auto"'],
    "gunicorn/minimal.py": ["workers = 3", "threads = 1", "# timeout = 30"],
    "gunicorn/cores.conf.py": [
        "# cores.conf.py computes workers: multiprocessing.cpu_count() * 2 + 1"
    ],
    "gunicorn/unix-socket.py": ['umask = "007"', 'user = "nobody"', 'pid = "'],
    "gunicorn/two-addresses.py": ["backlog = 1024", "reuse_port = true", '"[::1]:8031"'],
    "gunicorn/gevent.py": ["threads = 120", "# worker_class = gevent", "keep_alive = 65"],
    "gunicorn/eventlet-default.py": ["threads = 100"],
    "gunicorn/asgi-worker.py": ["# worker_class = uvicorn.workers.UvicornWorker"],
    "gunicorn/hooks.py": [
        "# Hooks cannot be part of this file: when_ready, post_fork.",
        "preload = true",
        "# pre_exec = pre_exec",
    ],
    "gunicorn/recycling.py": ["preload = false", "max_requests_jitter = 150"],
    "gunicorn/proxied.py": ['forwarded_allow_ips = ["10.1.2.3", "10.1.2.4"]'],
    "gunicorn/all-proxies.py": ['bind = [":8071"]', 'forwarded_allow_ips = ["*"]'],
    "gunicorn/limits.py": ["limit_request_field_size = 0", 'header_map = "refuse"'],
    "gunicorn/log-settings.py": [
        "# capture_output = true",
        "# logger_class = logs.StructuredLogger",
        "log_config_json",
    ],
    "gunicorn/shared-memory.py": [
        'env = ["DB_HOST=db.internal", "DB_NAME=shop"]',
        "# worker_tmp_dir = /dev/shm",
    ],
    "gunicorn/daemon.py": ['umask = "022"', "daemon = true"],
    "gunicorn/misspelt.py": ["did you mean workers", "did you mean timeout"],
    "gunicorn/annotated.py": ["timeout = 12.5"],
    "gunicorn/paas.py": [
        "# Where the platform sets PORT, remove bind",
        "threads = 4",
        "preload = false",
    ],
    "gunicorn/prints.py": ["workers = 2"],
    "gunicorn/sync-explicit.py": ['worker_class = "sync"', "timeout = 0"],
    "gunicorn/uwsgi-protocol.py": ["# protocol = uwsgi"],
    "gunicorn/Procfile": [
        "preload = true",
        "# --bind 0.0.0.0:$PORT",
        "# --workers $WEB_CONCURRENCY",
    ],
    "gunicorn/Procfile.wrapped": [
        "threads = 6",
        'env = ["DJANGO_ENV=live"]',
        "# Keep in front of the command: newrelic-admin run-program",
    ],
    "gunicorn/unit.service": [
        'env = ["LIBRARY_MODE=live", "LIBRARY_SIZE=large"]',
        "workers = 3",
        "# These lines stay in the unit: User=nobody, Group=www-data, RuntimeDirectory=library.",
    ],
    "gunicorn/Dockerfile": ["max_requests = 500", 'bind = ["0.0.0.0:8094"]'],
    "gunicorn/Dockerfile.shell": ["threads = 8", "timeout = 0", "# --bind :$PORT"],
    "gunicorn/run.sh": [
        'env = ["JOURNAL=1"]',
        'log_level = "debug"',
        'name = "journal"',
        "journal/web.sock",
        "# --no-sendfile",
    ],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_options_are_converted(converted: Converted, name: str) -> None:
    text = converted[name]
    # Comments may be continued in the next line.
    joined = re.sub(r"\n# +", " ", text)
    for line in EXPECTED[name]:
        assert re.search(rf"(?m)(^|\W){re.escape(line)}", f"{text}\n{joined}"), (line, text)


def test_static_directories_of_a_loop_are_listed(converted: Converted) -> None:
    found = [source.partition("=")[0] for source in values(converted["uwsgi/loops.ini"], "static")]
    assert found == ["/assets/css", "/assets/js", "/assets/fonts", "/"]
    assert value(converted["uwsgi/loops.ini"], "static_index") == "index.html"
