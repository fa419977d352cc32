"""Who may ask the gateway, and how much of it.

`control.py` is the file to open first: it decides on one request. Below it are the parts of that
decision, all of them pure: `hosts` (which Host names are answered), `origins` (which web pages may
write), `key` and `key_ring` (who asks, by a key or the token), `rate` (a key's requests a second)
and `fair_share` (a key's part of what is in flight, which admission control asks for). `key_file`
alone reads and writes a file.

`now` is a time of the event loop's clock, in s; `wall` is one of the system's, in s since 1970.

Imports `common` alone. The HTTP face asks it by `gateway.http.guard`.
"""
