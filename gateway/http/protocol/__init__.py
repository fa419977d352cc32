"""HTTP/1.1 on one connection: bytes to requests, answers to bytes, within limits.

Knows nothing of searches. Imports `gateway.http.problems`. Open `request_reader` first.
"""
