"""The cluster as it changes: what happened in the last minutes, and who watches.

A second's worth of totals becomes a point of the history, a change an event of the journal; the
stream of GET /v1/events carries both, and the status, to its viewers. May import everything that a
gateway is made of. Open `live` first.
"""
