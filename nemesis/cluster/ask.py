"""`python -m nemesis.cluster.ask`: one question, asked from within the network of a run.

`http METHOD URL [BODY]` prints the status of the answer and then its body; `primary HOST PORT`
prints the address of the primary that a sentinel names. Imports little, since each question is a
process.
"""

import http.client
import socket
import sys
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

SERVICE: Final = "hedgerow"
_TIMEOUT_S: Final = 3.0


def _http(method: str, url: str, body: str = "") -> str:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=_TIMEOUT_S)
    connection.request(method, address.path, body.encode() or None)
    answer = connection.getresponse()
    return f"{answer.status}\n{answer.read().decode(errors='replace')}"


def _primary(host: str, port: str) -> str:
    words = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
    command = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    with socket.create_connection((host, int(port)), _TIMEOUT_S) as connection:
        connection.sendall(f"*{len(words)}\r\n{command}".encode())
        received = b""
        while received.count(b"\r\n") < 5:  # *2, then length and text of host and port
            piece = connection.recv(1024)
            if not piece or received.startswith((b"-", b"*-")):
                raise OSError(f"no primary: {received!r}")
            received += piece
    _, _, name, _, number = received.split(b"\r\n")[:5]
    return f"{name.decode()}:{number.decode()}"


def main() -> None:
    """Ask; exits with 1 if there is no answer."""
    kind, *arguments = sys.argv[1:]
    try:
        ask: dict[str, Callable[..., str]] = {"http": _http, "primary": _primary}
        sys.stdout.write(ask[kind](*arguments))
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"{' '.join(arguments)}: {error}")


if __name__ == "__main__":
    main()
