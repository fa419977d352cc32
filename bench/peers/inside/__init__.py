"""The code that runs in each peer's virtual environment; it imports only the peer's packages.

There is a module for each peer, and modules that they share: the work (`work`), the pipe to the
driver (`serving`) and the processes of the workers (`workers`). Open `floor_redis` first, the
shortest.
"""
