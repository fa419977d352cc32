"""Measurements of Hedgerow against a raw floor: `make bench`, or `python -m bench --help`."""
