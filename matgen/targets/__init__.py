"""Properties, predicted distributions, and targets for them."""
