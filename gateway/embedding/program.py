"""The program of a process that embeds: reads texts from standard input, and writes their vectors.

Whatever users' code prints goes to standard error, since the replies need standard output.
"""

import os
import signal
import sys
from typing import BinaryIO, Final

from hedgerow.common.errors import ConfigurationError, EmbeddingError
from hedgerow.common.fields.embed_function import EmbedFunction
from hedgerow.common.user_function import import_path
from hedgerow.gateway.embedding.frames import (
    HEAD_BYTES,
    Texts,
    Vectors,
    length_in,
    pack,
    read_texts,
)

# Models load on their first call, which must not be that of a query.
_FIRST_TEXT: Final = "a first text"


def main() -> None:
    """Answer until the gateway closes the pipe, as it also does by ending."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the gateway, which ends this
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.path[:0] = [folder for folder in import_path() if folder not in sys.path]
    serve(sys.stdin.buffer, replies)


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer each request until there are no more."""
    functions: dict[str, EmbedFunction] = {}
    while len(head := requests.read(HEAD_BYTES)) == HEAD_BYTES:
        request = read_texts(requests.read(length_in(head)))
        replies.write(pack(_reply(functions, request)))
        replies.flush()


def _reply(functions: dict[str, EmbedFunction], request: Texts) -> Vectors:
    name = request.function
    try:
        if name not in functions:
            functions[name] = EmbedFunction(name)
        return Vectors(functions[name](request.texts or [_FIRST_TEXT]))
    except (ConfigurationError, EmbeddingError) as error:
        return Vectors([], str(error).encode(errors="backslashreplace").decode())


if __name__ == "__main__":
    main()
