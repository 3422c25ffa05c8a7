"""The command ``zoo leaderboard`` as a script: ``python benchmarks/leaderboard.py --help``."""

import sys

from zoo.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["leaderboard"]
    main()
