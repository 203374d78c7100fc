"""Privacy: what a trained classifier and what synthetic images give away of the real images."""
