"""What the one who asks can put right."""


class UserError(Exception):
    """Says what was expected, what came, and what to do; the command line prints it as one line, exit code 2."""
