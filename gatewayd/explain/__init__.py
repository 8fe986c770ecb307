"""Why the gateway does with a request what it does."""
