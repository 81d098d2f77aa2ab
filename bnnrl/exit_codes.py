"""Exit codes of the `bnnrl` command."""

DONE = 0
FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, which shells report for Ctrl-C
