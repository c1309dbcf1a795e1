"""``python -m aioscheduler``."""

import sys

from aioscheduler.cli import main

if __name__ == "__main__":
    sys.exit(main())
