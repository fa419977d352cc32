"""HTTP/1.1 on one connection: turns bytes into requests and answers into bytes, within limits.

Independent of searches. Imports `gateway.http.problems`. Open `request_reader` first.
"""
