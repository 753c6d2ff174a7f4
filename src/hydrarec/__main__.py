"""``python -m hydrarec``."""

import sys

from hydrarec.cli import main

sys.exit(main())
