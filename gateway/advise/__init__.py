"""`gateway advise`: measures a user's function, and decides which lane it belongs in.

Imports `common` and `gateway.local.processes`. Open `judgement` first, which decides from figures;
`experiments` measures them, in a separate process (`runner`).
"""
