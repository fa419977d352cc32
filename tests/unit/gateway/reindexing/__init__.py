"""Tests of `gateway.reindexing`."""
