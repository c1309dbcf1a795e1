"""Send messages to the future: a self-hosted webhook scheduler."""

__version__ = "1.0.0"
