"""A Flask application: one route for each thing that Flask asks of its server.

What the demo in flask_application shows to people is not tested here again.
"""

import hashlib
import io
import tempfile
from collections import defaultdict
from datetime import datetime, timezone

from flask import (
    Flask,
    Response,
    abort,
    g,
    jsonify,
    make_response,
    redirect,
    request,
    send_file,
    session,
    stream_with_context,
)

app = Flask(__name__)
app.secret_key = "only for tests"
LONG_AGO = datetime(2020, 2, 3, 4, 5, 6, tzinfo=timezone.utc)

_events = defaultdict(list)


@app.before_request
def begin():
    g.key = request.args.get("key", "")
    _events[g.key].append("begin")


@app.teardown_request
def teardown(error):
    _events[g.key].append(f"teardown {type(error).__name__}" if error else "teardown")


@app.get("/state")
def state():
    return jsonify(_events[request.args["of"]])


@app.get("/")
def hello():
    return "hello from Flask\n"


@app.route("/echo/<path:rest>", methods=["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def echo(rest):
    return jsonify(
        method=request.method,
        path=request.path,
        rest=rest,
        url=request.url.replace(request.host, "HOST"),
        args=request.args.to_dict(flat=False),
        form=request.form.to_dict(flat=False),
        cookies=request.cookies,
        headers=sorted(line for line in request.headers.items() if line[0] != "Host"),
    )


@app.post("/json")
def json_in():
    return jsonify(got=request.get_json())


@app.post("/body")
def body():
    data = request.get_data()
    return jsonify(
        length=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        content_length=request.content_length,
    )


@app.post("/upload")
def upload():
    files = {}
    for field, file in request.files.items():
        data = file.read()
        files[field] = [file.filename, len(data), hashlib.sha256(data).hexdigest()]
    return jsonify(files=files, form=request.form.to_dict(flat=False))


@app.post("/too-small")
def too_small():
    request.max_content_length = 100
    return jsonify(request.form)


@app.get("/session")
def count():
    session["count"] = session.get("count", 0) + 1
    return jsonify(count=session["count"])


@app.get("/stream")
def stream():
    """The request is there while the body is made; close() is called after it was sent."""
    count, fail = int(request.args.get("count", "3")), request.args.get("fail")
    key = g.key

    def blocks():
        try:
            for number in range(count):
                if str(number) == fail:
                    raise RuntimeError("the stream broke")
                yield f"{request.path} {number}\n"
        finally:
            _events[key].append("left")

    response = Response(stream_with_context(blocks()), mimetype="text/plain")
    response.call_on_close(lambda: _events[key].append("closed"))
    return response


@app.get("/closing")
def closing():
    """Functions to be called when the response is closed."""
    key = g.key
    response = make_response("closing\n")
    for name in ("first", "second"):
        response.call_on_close(lambda name=name: _events[key].append(name))
    return response


# Lives as long as the process.
_download = tempfile.NamedTemporaryFile(suffix=".bin")
_download.write(bytes(range(256)) * 4096)
_download.flush()


@app.get("/file")
def file():
    if request.args.get("memory"):
        content = io.BytesIO(bytes(range(256)) * 4096)
        return send_file(content, mimetype="application/octet-stream", etag=False)
    return send_file(
        _download.name,
        mimetype="application/octet-stream",
        as_attachment=True,
        download_name="t\u00e9.bin",
        conditional=True,
        etag="an-etag",
        last_modified=LONG_AGO,
    )


@app.get("/fields")
def fields():
    response = make_response("fields\n", "299 Quite Fine")
    response.headers.add("X-Twice", "one")
    response.headers.add("X-Twice", "two")
    response.headers["X-Latin"] = "caf\u00e9"
    response.headers["X-Empty"] = ""
    for name in ("one", "two", "three"):
        response.set_cookie(name, f"value of {name}", path="/fields", httponly=True)
    return response


@app.get("/conditional")
def conditional():
    response = make_response("conditional\n")
    response.set_etag("an-etag")
    response.last_modified = LONG_AGO
    return response.make_conditional(request)


@app.get("/redirect")
def redirected():
    return redirect("/echo/caf\u00e9?a=1")


@app.get("/abort/<int:code>")
def aborted(code):
    abort(code)


@app.get("/no-content")
def no_content():
    return "", 204


@app.get("/boom")
def boom():
    raise RuntimeError("boom on purpose")
