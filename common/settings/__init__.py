"""Settings: every option of every program, with its default, unit and limits.

Imports `common.errors` and `common.wire` alone. Open `settings` first: it joins the groups, and
reads environment variables, `hedgerow.toml` and the defaults.
"""
