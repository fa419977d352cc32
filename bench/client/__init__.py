"""What a search costs its client in CPU: the Python client, and what could stand below it.

`python -m bench.client` measures each way of `asking` in a process of its own, in turns, against
`answering`: a process that answers everything with one recorded answer. Open `__main__` first.
"""
