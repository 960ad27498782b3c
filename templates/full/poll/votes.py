"""Votes in Redis: a set of options, a counter for each."""

import os

import redis


class Votes:
    """The poll in the Redis server at REDIS_URL."""

    def __init__(self):
        self._redis = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)

    def ready(self):
        """Return True if Redis responds."""
        return self._redis.ping()

    def add(self, option):
        """Add an option."""
        self._redis.sadd("options", option)

    def cast(self, option):
        """Add a vote and return the count; KeyError for an unknown option."""
        if not self._redis.sismember("options", option):
            raise KeyError(option)
        return self._redis.hincrby("votes", option)

    def tally(self):
        """Return the votes of each option."""
        counted = self._redis.hgetall("votes")
        return {option: int(counted.get(option, 0)) for option in sorted(self._redis.smembers("options"))}
