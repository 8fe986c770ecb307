"""Processes: workers that serve, the supervisor that keeps them running, signals, sockets."""
