"""What both clients share of httpx: how it is set up, how a call is put, and how it fails."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx

from common.errors import UnavailableError
from gateway.client.calls import Call
from gateway.client.reply import Reply

DEFAULT_URL: Final = "http://127.0.0.1:8080"
CONNECT_TIMEOUT_S: Final = 5.0
MARGIN_S: Final = 10.0

# Below the 5 s after which the gateway closes what is idle, so that no request meets that close.
KEEPALIVE_S: Final = 4.0


@dataclass(frozen=True, slots=True)
class Link:
    """How a gateway is reached.

    Attributes:
        url: where it answers.
        token: bearer token, when it wants one.
        margin_s: how much longer than the gateway may take an answer is waited for, in s: what
            the network may take, and a gateway that is late is still heard.
        connect_timeout_s: longest wait for a connection, in s.
        verify: how its certificate is checked, with an https URL.
    """

    url: str
    token: str | None = None
    margin_s: float = MARGIN_S
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    verify: ssl.SSLContext | bool = True

    def __post_init__(self) -> None:
        """Refuse what is no URL.

        Raises:
            UnavailableError: nobody can answer there.
        """
        with self.failures():
            httpx.URL(self.url)

    @property
    def checked(self) -> ssl.SSLContext | bool:
        """How certificates are checked: without TLS not at all, which spares reading them 30 ms."""
        return self.verify if httpx.URL(self.url).scheme == "https" else False

    def settings(self) -> dict[str, Any]:
        """Return the arguments of httpx's clients."""
        return {
            "base_url": self.url,
            "headers": {"Authorization": f"Bearer {self.token}"} if self.token else {},
            "follow_redirects": False,
            # Proxies and .netrc of the environment are for the internet, and may leak the token.
            "trust_env": False,
        }

    def request(self, call: Call[Any], content: Any) -> dict[str, Any]:
        """Return the arguments of one request of httpx's clients."""
        body = call.body if content is None else content
        return {
            "method": call.method,
            "url": call.path,
            "params": call.params,
            "content": body,
            "headers": None if body is None else {"Content-Type": call.media_type},
            "timeout": httpx.Timeout(call.takes_s + self.margin_s, connect=self.connect_timeout_s),
        }

    def reply(self, response: httpx.Response) -> Reply:
        """Return what came back."""
        return Reply(self.url, response.status_code, response.headers, response.content)

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Make what goes wrong on the way an UnavailableError that names the URL."""
        try:
            yield
        except httpx.TimeoutException as error:
            what = type(error).__name__.removesuffix("Timeout").lower()
            raise UnavailableError(
                f"the gateway at {self.url} did not answer in time ({what})"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnavailableError(f"no gateway answers at {self.url}: {error}") from error
