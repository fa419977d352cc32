"""What a process can learn of its machine: cores, descriptors, disks, and who owns a data folder.

Imports `common.settings` and `common.errors`. Open `disk` for a policy and `disk_reader` for its
I/O.
"""
