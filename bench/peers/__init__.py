"""What people would pick instead of Hedgerow, measured in the same run."""
