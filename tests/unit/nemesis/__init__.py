"""Checkers and schedule of the nemesis, over histories that are made up."""
