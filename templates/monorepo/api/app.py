"""GET and POST /api/notes; all other paths are files of the front end, below FRONT_END."""

import os

from flask import Flask, jsonify, request, send_from_directory

from api import notes

FRONT_END = os.path.abspath(os.environ.get("FRONT_END", "web/dist"))

app = Flask(__name__, static_folder=None)


@app.get("/api/notes")
def list_notes():
    return jsonify(notes.newest())


@app.post("/api/notes")
def add_note():
    text = (request.get_json(silent=True) or {}).get("text", "")
    if not isinstance(text, str) or not text.strip():
        return jsonify(error="a note needs a text"), 400
    return jsonify(notes.add(text.strip())), 201


@app.get("/healthz")
def healthz():
    notes.newest(1)
    return "ok\n"


@app.get("/", defaults={"path": "index.html"})
@app.get("/<path:path>")
def front_end(path):
    return send_from_directory(FRONT_END, path)
