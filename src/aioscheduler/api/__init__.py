"""The HTTP contract: routes, credentials, bodies, answers."""
