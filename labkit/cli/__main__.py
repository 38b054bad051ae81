"""`python -m labkit.cli`, as `accelerate launch -m labkit.cli` starts it."""

import sys

from .main import main

sys.exit(main())
