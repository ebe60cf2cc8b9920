"""`python -m genjax COMMAND`: the same program as `genjax COMMAND`."""

import sys

from genjax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
