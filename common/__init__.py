"""What gateway and shard worker must agree on: wire types, keys, errors, settings.

Imports neither of them. Open `errors` and `outcome` first; each folder says what it holds.
"""

__version__ = "0.1.0"
