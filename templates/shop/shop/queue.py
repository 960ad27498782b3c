"""The queue of new orders: a list in the Redis server at REDIS_URL."""

import json
import os

import redis

KEY = "orders"


class Queue:
    """Orders wait here, as JSON, until the worker takes them."""

    def __init__(self):
        self._redis = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)

    def put(self, order):
        """Append an order."""
        self._redis.rpush(KEY, json.dumps(order))

    def take(self, timeout=1):
        """Remove and return the oldest order; None if there is none for `timeout` seconds."""
        taken = self._redis.blpop(KEY, timeout=timeout)
        return json.loads(taken[1]) if taken else None

    def size(self):
        """Return the number of waiting orders."""
        return self._redis.llen(KEY)
