"""Helpers of the integration tests alone; some modules run in the processes under test."""
