"""What a search costs its client in CPU time: the Python client, and possible transports for it.

`python -m bench.client` measures each way of `asking` in a separate process, in turns, against
`answering`, a process that answers every request with one recorded answer. Open `__main__` first.
"""
