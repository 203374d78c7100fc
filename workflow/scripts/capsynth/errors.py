"""Errors that a user can act on."""


class CapsynthError(Exception):
    """Something the user can mend; its message names the thing and the remedy."""
