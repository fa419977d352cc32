"""HTTP/1.1 to one gateway, over sockets that block (`blocking`) and on a loop (`asynchronous`).

httptools parses, ssl encrypts, and what is between them is here: which connection a request takes,
how its bytes look, when its answer is whole, and when a connection may be used again. A connection
whose answer was not read to its end is closed, and never used again. Open `response` first; nothing
here knows what a search is.
"""
