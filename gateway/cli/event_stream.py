"""Follows the events of a cluster (GET /v1/events), with the standard library's HTTP client."""

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

from hedgerow.common.errors import UnavailableError
from hedgerow.gateway.client.link import Link
from hedgerow.gateway.client.network.failures import Failures
from hedgerow.gateway.client.reply import Reply

PATH = "/v1/events"


class Message(NamedTuple):
    """A message of the stream.

    Attributes:
        name: history, status, placement, point or event.
        data: its JSON.
    """

    name: str
    data: dict[str, Any]


def follow(link: Link) -> Iterator[Message]:
    """Yield the messages of the stream, until the gateway ends it.

    Raises:
        HedgerowError: the gateway refuses, or does not answer; or nothing has come for a while.
    """
    address = link.address
    with closing(_connection(link)) as connection:
        with Failures(link.url, "connect"):
            connection.connect()
        if connection.sock is not None:
            # A stream has something to say every second.
            connection.sock.settimeout(link.margin_s)
        with Failures(link.url, "read"):
            connection.request("GET", address.prefix + PATH, headers=_headers(link))
            response = _response(connection, link)
        if response.status != 200:
            with Failures(link.url, "read"):
                body = response.read()
            fields = {name.lower(): value for name, value in response.getheaders()}
            Reply(link.url, response.status, fields, body).nothing()
        yield from _messages(response, link)


def _connection(link: Link) -> http.client.HTTPConnection:
    address, timeout_s = link.address, link.connect_timeout_s
    context = link.ssl_context()
    if context is None:
        return http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)
    return http.client.HTTPSConnection(
        address.host, address.port, timeout=timeout_s, context=context
    )


def _headers(link: Link) -> Mapping[str, str]:
    headers = {"Host": link.address.authority, "Accept": "text/event-stream"}
    authorization = f"Bearer {link.token}" if link.token else link.address.credentials
    return headers if authorization is None else {**headers, "Authorization": authorization}


def _response(connection: http.client.HTTPConnection, link: Link) -> http.client.HTTPResponse:
    try:
        return connection.getresponse()
    except http.client.HTTPException as error:
        reason = str(error) or type(error).__name__
        raise UnavailableError(f"no gateway answers at {link.url}: {reason}") from error


def _messages(response: http.client.HTTPResponse, link: Link) -> Iterator[Message]:
    name = ""
    while True:
        with Failures(link.url, "read"):
            try:
                line = response.readline()
            except http.client.HTTPException:  # the connection was cut within a message
                return
        if not line:
            return
        kind, _, value = line.decode(errors="replace").rstrip("\n").partition(": ")
        if kind == "event":
            name = value
        elif kind == "data":
            yield Message(name, json.loads(value))
