"""A process's machine: its cores, descriptors and disks, and the ownership of data folders.

Imports `common.settings` and `common.errors`. Open `disk` for a policy and `disk_reader` for its
I/O.
"""
