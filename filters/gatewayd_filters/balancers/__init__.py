"""The built-in balancers; each is one strategy of the filter ``balancer``."""
