"""The page of GET /: files for a browser, as they are served; no build step makes them.

`static/index.html` loads `static/main.js`, which loads the other modules. Imports nothing. Open
`files` first, which says how a browser may use them.
"""
