"""load.py ADDRESS: clients that look around and order, until Ctrl-C. Runs on the host and requires only Python.

Each client has its own cookies, makes up to 20 requests and is replaced by a new one. Every five seconds a line shows
which version of the shop answered how many requests, and how many failed.
"""

import http.cookiejar
import json
import random
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter

CLIENTS = 12  # at the same time
REQUESTS = 20  # of one client
PAUSE = 0.2  # seconds between the requests of a client, on average

answered = Counter()
failed = Counter()


def order():
    """Return the form of a random order."""
    form = {"product": random.choice(["tea", "coffee", "cake"]), "quantity": random.randint(1, 4)}
    return urllib.parse.urlencode(form).encode()


def shop(address):
    """Be one client after the other."""
    while True:
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        opener = urllib.request.build_opener(cookies)
        for _ in range(random.randint(1, REQUESTS)):
            try:
                with opener.open(f"{address}/orders", random.choice([None, order()]), timeout=30) as answer:
                    answered[json.load(answer)["version"]] += 1
            except urllib.error.HTTPError as error:
                failed[str(error.code)] += 1
            except OSError:
                failed["no answer"] += 1
            time.sleep(random.uniform(0, 2 * PAUSE))


def take(counter):
    """Return the counts as text, and reset them."""
    counts = dict(sorted(counter.items()))
    counter.clear()
    return ", ".join(f"{name}: {count}" for name, count in counts.items()) or "none"


def main(address):
    for _ in range(CLIENTS):
        threading.Thread(target=shop, args=(address,), daemon=True).start()
    while True:
        time.sleep(5)
        print(f"answered by {take(answered)} | failed {take(failed)}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        main(sys.argv[1].rstrip("/"))
    except KeyboardInterrupt:
        pass
