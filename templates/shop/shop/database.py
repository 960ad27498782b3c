"""The orders that the worker has processed: a table in the PostgreSQL database at DATABASE_URL."""

import os

import psycopg
from psycopg.rows import dict_row

# Both releases use the database while a new one is rolled out: add to the schema, never remove what the old one uses.
MIGRATIONS = [
    """
    CREATE TABLE IF NOT EXISTS orders (
        id bigserial PRIMARY KEY,
        at timestamptz NOT NULL DEFAULT now(),
        product text NOT NULL,
        quantity integer NOT NULL,
        total integer NOT NULL
    )
    """,
    "ALTER TABLE orders ADD COLUMN IF NOT EXISTS release text",
]


def connect():
    """Return a connection; used as a context manager, it commits at the end of the block."""
    return psycopg.connect(os.environ["DATABASE_URL"], row_factory=dict_row)


def migrate():
    """Bring the schema up to date."""
    with connect() as connection:
        for statement in MIGRATIONS:
            connection.execute(statement)


def add(order):
    """Store an order."""
    with connect() as connection:
        connection.execute(
            "INSERT INTO orders (product, quantity, total, release)"
            " VALUES (%(product)s, %(quantity)s, %(total)s, %(release)s)",
            order,
        )


def newest(count=10):
    """Return the newest orders."""
    with connect() as connection:
        return connection.execute("SELECT * FROM orders ORDER BY id DESC LIMIT %s", (count,)).fetchall()


def count():
    """Return the number of orders."""
    with connect() as connection:
        return connection.execute("SELECT count(*) FROM orders").fetchone()["count"]


if __name__ == "__main__":
    migrate()
    print("the schema is up to date")
