"""Votes in Redis: a set of options, a counter for each."""

import os

import redis


class Votes:
    """The poll that REDIS_URL leads to."""

    def __init__(self):
        self._redis = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)

    def ready(self):
        """Whether Redis answers."""
        return self._redis.ping()

    def add(self, option):
        """One more option."""
        self._redis.sadd("options", option)

    def cast(self, option):
        """One more vote; KeyError for what is no option."""
        if not self._redis.sismember("options", option):
            raise KeyError(option)
        return self._redis.hincrby("votes", option)

    def tally(self):
        """Option → votes."""
        counted = self._redis.hgetall("votes")
        return {option: int(counted.get(option, 0)) for option in sorted(self._redis.smembers("options"))}
