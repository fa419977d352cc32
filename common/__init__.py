"""What gateway and shard worker must agree on: wire types, keys, links, clock, errors, settings."""

__version__ = "0.1.0"
