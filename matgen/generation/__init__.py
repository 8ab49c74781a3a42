"""From a request to ranked proposals."""
