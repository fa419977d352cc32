"""The command line: `gateway COMMAND`. Each command is a module, imported when the command runs.

May import everything but `shard_worker`. Open `main` first.
"""
