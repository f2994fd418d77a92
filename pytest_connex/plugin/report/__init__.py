"""What people see of a run: the terminal section, and reports without secrets."""
