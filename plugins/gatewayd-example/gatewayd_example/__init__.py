"""An example of a gatewayd plugin."""
