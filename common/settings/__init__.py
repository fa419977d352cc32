"""Settings: every option of every program, with its default, unit and limits.

Imports only `common.errors` and `common.wire`. Open `settings` first: it combines the groups, each
of which has a module of its own, and reads environment variables, `hedgerow.toml` and the defaults.
"""
