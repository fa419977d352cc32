"""`gateway advise`: measures a user's function, and judges which lane it belongs in.

Imports `common` and `gateway.local.processes`. Open `judgement` first, which decides by figures;
`experiments` takes them, in a process of its own (`runner`).
"""
