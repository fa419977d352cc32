"""Hedgerow with other software: Ray, HAProxy, Prometheus.

Each test needs something that most users do not install.
"""
