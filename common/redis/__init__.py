"""All access to Redis.

`connection` is for the data plane (queries and replies), `client` for the control plane (everything
else); `keys` names every key and channel. Imports `common.settings` and `common.errors`. Open
`keys` first.
"""
