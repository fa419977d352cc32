"""Runs the gateway's own scatter, gather and policies in virtual time over scripted shards.

Imports `gateway.search`, `gateway.policies` and `common`. Open `run` first; a scenario is a TOML
file, which `scenario` reads, and `scenarios/` contains the built-in ones.
"""
