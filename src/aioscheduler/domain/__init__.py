"""The rules of scheduling, pure: no I/O, and the time comes in as an argument."""
