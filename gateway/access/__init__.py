"""Decides who may use the gateway, and how much.

Open `control.py` first: it decides on one request. The parts of that decision are pure: `hosts`
(which Host names are answered), `origins` (which web pages may write), `key` and `key_ring` (which
caller a key or the token belongs to), `rate` (a key's requests a second) and `fair_share` (a
caller's share of the requests in progress, which admission control uses for searches and
`request_admission` for other requests). `usage_report` summarises refusals. Only `key_file`
reads and writes a file.

`now` is a time of the event loop's clock, in s; `wall` is a time of the system's clock, in s since
1970.

Imports only `common`. The HTTP server uses it through `gateway.http.requests.guard`.
"""
