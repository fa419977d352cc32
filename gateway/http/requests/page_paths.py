"""Which requests are for the page, whose files are the same for everyone. Pure."""

from typing import Final

PREFIX: Final = "/page/"
ROUTES: Final = frozenset({"/", "/page/{name}"})


def is_for_browser(accept: str) -> bool:
    """Whether the header Accept names HTML, as a browser's does that opens a page."""
    return any(part.partition(";")[0].strip() == "text/html" for part in accept.lower().split(","))


def is_page(method: str, path: str, accept: str) -> bool:
    """Whether a request is for the page or a file of it, and needs no key."""
    return method == "GET" and (path.startswith(PREFIX) or (path == "/" and is_for_browser(accept)))
