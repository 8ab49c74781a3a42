"""Properties, predicted distributions, and property targets."""
