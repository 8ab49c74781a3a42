"""Errors that the user can fix."""


class UserError(Exception):
    """Error that says what was expected, what was given and what to do; printed as one line, with exit code 2."""
