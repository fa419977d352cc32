"""The shapes of requests and answers, each defined once, with its limits.

Validation and encoding of bodies, `/openapi.json`, the tables of docs/http*.md and the client's
results follow from these. The shape of a request refuses unknown members; that of an answer ignores
them, so that a gateway may be newer than its clients. A default in an answer is the value that a
client assumes if an older gateway does not send the member.

Imports only msgspec and `common`, since the client imports it. Open `search` and `answer` first.
"""
