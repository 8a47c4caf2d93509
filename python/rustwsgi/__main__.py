"""``python -m rustwsgi module:app``."""

import sys

from rustwsgi.cli import main

if __name__ == "__main__":
    sys.exit(main())
