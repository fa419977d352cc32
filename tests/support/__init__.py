"""What several rings of tests share, a module for each subject.

A helper that only one ring uses is in that ring's own `support` folder.
"""
