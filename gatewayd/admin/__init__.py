"""The admin API: how operators look at a running gateway, and steer it."""
