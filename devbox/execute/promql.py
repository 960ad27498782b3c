"""One question to a Prometheus server: an instant query that gives one number."""

from __future__ import annotations

import math
from typing import IO, Any

from devbox.model import jsontext

_MOST = 1_000_000  # bytes of an answer: a number is far shorter
_SHOWN = 200  # characters of a complaint


class NoNumber(Exception):
    """There is no such number, and why in a few words."""


def ask(query: str, *, url: str, authorization: str = "", timeout: float) -> float:
    """The value of a query just now. Raises NoNumber."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.parse import urlencode
    from urllib.request import Request

    headers = {"Accept": "application/json", **({"Authorization": authorization} if authorization else {})}
    request = Request(f"{url}/api/v1/query?{urlencode({'query': query})}", headers=headers)  # noqa: S310 - http(s) only
    try:
        with _opener().open(request, timeout=timeout) as answer:
            return read(answer.read(_MOST))
    except HTTPError as error:
        raise NoNumber(f"{url} answers {error.code}{_complaint(error)}") from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise NoNumber(f"{url} does not answer: {getattr(reason, 'strerror', None) or reason}") from None


def read(answer: bytes) -> float:
    """The number in an answer. Raises NoNumber where it has none, or several."""
    try:
        plain = jsontext.loads(answer)
        if plain["status"] != "success":
            raise NoNumber(f"Prometheus says: {str(plain.get('error', plain['status']))[:_SHOWN]}")
        number = float(_sample(plain["data"]))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError):
        raise NoNumber("the answer is none of Prometheus's") from None
    if not math.isfinite(number):
        raise NoNumber(f"the query gives {number}")
    return number


def _sample(data: dict[str, Any]) -> Any:
    if data["resultType"] == "scalar":
        return data["result"][1]
    if data["resultType"] != "vector":
        raise NoNumber(f"the query gives a {data['resultType']}, not a number")
    series = data["result"]
    if len(series) != 1:
        raise NoNumber(f"the query gives {len(series)} series, not one" if series else "the query finds nothing")
    return series[0]["value"][1]


def _complaint(error: IO[bytes]) -> str:
    try:
        return f": {str(jsontext.loads(error.read(_MOST))['error'])[:_SHOWN]}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _opener() -> Any:
    """Follows nobody elsewhere: the header that it carries is for one server alone."""
    from urllib.request import HTTPRedirectHandler, HTTPSHandler, build_opener

    from devbox.host import carry

    class _Stays(HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    return build_opener(_Stays, HTTPSHandler(context=carry.tls_context()))
