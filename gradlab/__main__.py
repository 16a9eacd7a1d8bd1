"""``python -m gradlab`` is ``gradlab``: the command line, and a Ctrl-C while it loads."""

import sys


def main() -> None:
    """Run the command line; whenever Ctrl-C comes, the exit code is 130."""
    try:
        from gradlab import cli

        cli.main()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        exec("")  # Python notes a Ctrl-C inside exec(), which dataclasses use, and would die of it without an exit code


if __name__ == "__main__":
    main()
