"""Fetching models and data sets where there is a network, and saying what was fetched."""
