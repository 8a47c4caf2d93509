"""WebSockets with flask-sock and Flask-SocketIO, as their documentation writes them."""

from __future__ import annotations

from flask import Flask
from flask_sock import Sock
from flask_socketio import SocketIO, emit

app = Flask(__name__)
sock = Sock(app)


@app.route("/")
def index():
    return "index"


@sock.route("/echo")
def echo(ws):
    while True:
        ws.send(ws.receive())


@sock.route("/bye")
def bye(ws):
    ws.send("bye")


@sock.route("/fails")
def fails(ws):
    raise ValueError("in the handler")


pinged = Flask("pinged")
pinged.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": 1}


@Sock(pinged).route("/echo")
def echo_with_pings(ws):
    """As above; the library waits with a selector."""
    while True:
        ws.send(ws.receive())


socketio_app = Flask("socketio_app")
socketio = SocketIO(socketio_app, async_mode="threading")


@socketio_app.route("/")
def socketio_index():
    return "index"


@socketio.on("say")
def say(data):
    emit("said", data)
