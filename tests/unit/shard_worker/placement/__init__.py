"""Tests of what carries out the placement."""
