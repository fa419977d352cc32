"""The same documents and queries in Hedgerow and in other search engines."""
