"""The built-in filters. Each uses only what `gatewayd` exports, as anybody's would."""
