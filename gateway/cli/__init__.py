"""The command line: `gateway COMMAND`, a module a command, imported when that command runs.

May import everything but `shard_worker`. Open `main` first.
"""
