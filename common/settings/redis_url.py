"""What a URL of a Redis server says, and what is wrong with it."""

from urllib.parse import SplitResult, parse_qs, urlsplit


def url_fault(text: str) -> str:
    """Say why a URL of a Redis server cannot be used, without its password; "" if it can."""
    try:
        url = urlsplit(text)
    except ValueError:
        return "is not a URL"
    if url.scheme not in ("redis", "rediss", "unix"):
        return f"scheme {url.scheme!r} is not redis, rediss or unix"
    try:
        _ = url.port
    except ValueError:
        return "its port is not a number from 0 to 65535"
    if not database_of(url).isdecimal():
        return f"database {database_of(url)!r} is not a number"
    return ""


def database_of(url: SplitResult) -> str:
    """The database that a URL names; "0" if it names none."""
    if url.scheme == "unix":
        return parse_qs(url.query).get("db", ["0"])[0]
    return url.path.strip("/") or "0"
