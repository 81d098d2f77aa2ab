"""Entry point of `python -m bnnrl.cli`."""

import sys

from bnnrl.cli import main

sys.exit(main())
