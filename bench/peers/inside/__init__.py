"""The code that runs inside each peer's own virtual environment; it imports no package but its own.

A module a peer, and what they share: the work (`work`), the pipe to the driver (`serving`), the
processes of the workers (`workers`) and a closed loop for blocking clients (`threads`).
"""
