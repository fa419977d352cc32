"""The project's own scatter, gather and policies in virtual time over scripted shards."""
