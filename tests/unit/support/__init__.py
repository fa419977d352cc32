"""Helpers of the unit tests alone."""
