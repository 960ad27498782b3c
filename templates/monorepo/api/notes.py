"""Notes in PostgreSQL."""

import os

import psycopg
from psycopg.rows import dict_row

SCHEMA = "CREATE TABLE IF NOT EXISTS notes (id bigserial PRIMARY KEY, text text NOT NULL)"


def connect():
    """Return a connection; used as a context manager, it commits at the end of the block."""
    return psycopg.connect(os.environ["DATABASE_URL"], row_factory=dict_row)


def migrate():
    """Bring the schema up to date."""
    with connect() as connection:
        connection.execute(SCHEMA)


def add(text):
    """Store a note and return it."""
    with connect() as connection:
        return connection.execute("INSERT INTO notes (text) VALUES (%s) RETURNING id, text", (text,)).fetchone()


def newest(count=20):
    """Return the newest notes."""
    with connect() as connection:
        return connection.execute("SELECT id, text FROM notes ORDER BY id DESC LIMIT %s", (count,)).fetchall()


if __name__ == "__main__":
    migrate()
    print("the schema is up to date")
