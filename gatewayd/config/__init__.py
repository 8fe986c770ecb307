"""The configuration: its schema, and how it is loaded, checked and documented."""
