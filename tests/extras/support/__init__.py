"""Helpers of the integration tests; some modules run in the processes under test."""
