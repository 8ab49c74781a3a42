"""The error of a request."""

from matgen.errors import UserError


class RequestError(UserError, ValueError):
    """A request that cannot be fulfilled as it stands."""
