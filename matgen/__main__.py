"""`python -m matgen`, such as by torchrun."""

from matgen.cli import main

main()
