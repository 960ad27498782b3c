"""Wants Python 3.11: the incompatibility that the matrix is to find."""

import datetime


def stamp():
    return datetime.datetime.now(datetime.UTC).isoformat()
