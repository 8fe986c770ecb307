"""Token bucket."""
