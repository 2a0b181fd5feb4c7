"""The `runbook` executable; `python -m runbook` is the same."""

import sys


def main() -> int:
    """Run the command line and return its exit code.

    `--version` is answered before anything else is imported, so that it feels instant.
    """
    if sys.argv[1:] == ["--version"]:
        from runbook import __version__

        print(f"runbook {__version__}")
        return 0
    from runbook.cli.main import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
