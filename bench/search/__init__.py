"""The same documents and queries in Hedgerow and in what people search with today."""
