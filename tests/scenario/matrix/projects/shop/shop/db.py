import os
from urllib.parse import urlsplit

import pg8000.native


def connect():
    url = urlsplit(os.environ["DATABASE_URL"])
    return pg8000.native.Connection(
        url.username, host=url.hostname, port=url.port or 5432, database=url.path.lstrip("/"), password=url.password
    )
