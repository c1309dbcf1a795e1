"""Bots: what a job can run besides webhooks."""
