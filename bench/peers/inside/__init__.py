"""The code that runs in each peer's virtual environment; it imports only the peer's packages.

A module a peer, and what they share: the work (`work`), the pipe to the driver (`serving`), the
processes of the workers (`workers`) and a closed loop for blocking clients (`threads`).
"""
