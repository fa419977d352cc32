"""Everything that is said to Redis passes through this room.

`connection` carries the data plane (queries and replies), `client` the control plane (all the
rest); `keys` names every key and channel. Imports `common.settings` and `common.errors`. Open
`keys` first.
"""
