"""Credentials: whose request it is, where secrets are in bodies and texts, and how they are kept out of the store."""
