"""HTTP/1.1 to one gateway, over blocking sockets (`blocking`) or on an event loop (`asynchronous`).

httptools parses and ssl encrypts. This package decides which connection a request takes, encodes
it, recognises the end of its answer, and decides whether the connection may be used again. If an
answer was not read to its end, its connection is closed. Independent of searches. Open `response`
first.
"""
