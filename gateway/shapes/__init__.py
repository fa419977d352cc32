"""The shapes of HTTP: what is asked and what is answered, each defined once, with its limits.

From these come the validation and the encoding of bodies, `/openapi.json`, the tables of
docs/http.md and what the client returns. A shape of a request refuses members that it does not
know; one of an answer ignores them, so that a gateway may be newer than its clients. A default in
an answer is what a client takes where an older gateway says nothing.

Imports msgspec and `common`, since the client imports it. Open `search` and `answer` first.
"""
