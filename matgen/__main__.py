"""The program: `matgen`, and `python -m matgen`, such as by torchrun."""

import sys


def main() -> None:
    """Run the command line; an interrupt while that is loaded ends the program like a later one."""
    try:
        from matgen.cli import main as command
    except KeyboardInterrupt:
        sys.stderr.write("matgen: interrupted\n")
        raise SystemExit(130) from None
    command()


if __name__ == "__main__":
    main()
