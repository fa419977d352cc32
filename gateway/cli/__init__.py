"""The command line: `gateway COMMAND`."""
