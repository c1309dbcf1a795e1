"""How fast the service is, beside what the machine and the libraries under it allow: ``python -m bench``."""
