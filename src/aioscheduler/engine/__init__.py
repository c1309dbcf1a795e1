"""From due entries to settled attempts."""
