"""A shop: the web application puts orders into a queue in Redis, the worker writes them to PostgreSQL."""

VERSION = "1.0"
