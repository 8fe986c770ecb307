"""Services: their instances, what tells them, and what picks one."""
