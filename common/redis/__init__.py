"""All access to Redis.

`connection` is for the data plane (queries and replies), on top of `handshake`, `protocol` and
`commands`; `client` is for the control plane (everything else), and `connect` makes it; `keys`
names every key and channel. Imports `common.settings`, `common.runtime`, `common.tasks` and
`common.errors`. Open `keys` first.
"""
