"""`gateway advise`: measures a user's function, and judges which lane it belongs in."""
