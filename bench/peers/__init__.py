"""What people would pick instead of Hedgerow, measured beside it in one run."""
