"""`python -m matgen.cli`."""

from matgen.cli import main

main()
