"""A visitor log: each page view adds a row in PostgreSQL and increments a counter in Redis."""

import os
from contextlib import contextmanager

import click
import psycopg
import redis
from flask import Flask, jsonify, render_template, request
from psycopg.rows import dict_row

app = Flask(__name__)
cache = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)

SCHEMA = """
    CREATE TABLE IF NOT EXISTS visits (
        id bigserial PRIMARY KEY,
        at timestamptz NOT NULL DEFAULT now(),
        agent text NOT NULL
    )
"""


@contextmanager
def database():
    """Connect; commit if the block ends without an error."""
    with psycopg.connect(os.environ["DATABASE_URL"], row_factory=dict_row) as connection:
        connection.execute(SCHEMA)
        yield connection


def record_visit():
    """Record a visit and return the data of the page."""
    with database() as connection:
        agent = request.headers.get("User-Agent", "")[:80]
        connection.execute("INSERT INTO visits (agent) VALUES (%s)", (agent,))
        rows = connection.execute("SELECT id, at, agent FROM visits ORDER BY id DESC LIMIT 5").fetchall()
        version = connection.execute("SHOW server_version").fetchone()["server_version"]
    return {"counter": cache.incr("visits"), "visits": rows, "postgres": version.split()[0]}


@app.get("/")
def page():
    return render_template("index.html", **record_visit())


@app.get("/api")
def api():
    return jsonify(record_visit())


@app.get("/healthz")
def healthz():
    """Return 200 if both services respond."""
    with database() as connection:
        connection.execute("SELECT 1")
    cache.ping()
    return "ok\n"


@app.cli.command("visits")
def visits():
    """Print the number of visits."""
    with database() as connection:
        click.echo(connection.execute("SELECT count(*) FROM visits").fetchone()["count"])
