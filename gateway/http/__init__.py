"""The HTTP face of the gateway; docs/http.md describes it for its users."""
