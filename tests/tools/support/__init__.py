"""Helpers of the tests of tools."""
