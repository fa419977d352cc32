"""What a gateway and a process that embeds say to each other: lengths and MessagePack."""

from typing import Final

import msgspec

HEAD_BYTES: Final = 4  # of each frame: its length, big-endian


class Texts(msgspec.Struct, frozen=True, array_like=True):
    """Texts to embed; without any, the function is only loaded, and called once."""

    function: str
    texts: list[str]


class Vectors(msgspec.Struct, frozen=True, array_like=True):
    """Their vectors, little-endian float32; or why there are none."""

    vectors: list[bytes]
    error: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode_texts = msgspec.msgpack.Decoder(Texts).decode
_decode_vectors = msgspec.msgpack.Decoder(Vectors).decode


def pack(frame: Texts | Vectors) -> bytes:
    """The frame with its head."""
    body = _encode(frame)
    return len(body).to_bytes(HEAD_BYTES) + body


def length_in(head: bytes) -> int:
    """How long the rest of a frame is."""
    return int.from_bytes(head)


def read_texts(body: bytes) -> Texts:
    """Read a request; raises msgspec.MsgspecError."""
    return _decode_texts(body)


def read_vectors(body: bytes) -> Vectors:
    """Read a reply; raises msgspec.MsgspecError."""
    return _decode_vectors(body)
