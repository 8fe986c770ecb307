"""The connection to Redis: alone, with Sentinel, or as a cluster."""
