"""`python -m labkit.cli`, as `accelerate launch -m labkit.cli` starts it."""

import sys

from .main import main

if __name__ == "__main__":  # the site's pages import it
    sys.exit(main())
