"""What a run would do and why, what it would cost, and how far it is."""
