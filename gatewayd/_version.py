"""The version, read by hatchling and by `gatewayd version`."""

__version__ = "0.1.0"
