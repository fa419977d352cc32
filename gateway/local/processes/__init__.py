"""Child processes: started, watched, restarted, ended in order, and never left behind.

Imports `common` alone. Open `supervisor` first, then `child`.
"""
