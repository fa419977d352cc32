"""The shapes of requests and answers, as `/openapi.json` describes them.

Imports `gateway.http.requests` and `gateway.http.problems`. Open `schema` first.
"""
