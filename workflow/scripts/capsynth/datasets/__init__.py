"""Labelled image sets: their classes, train images and evaluation sets."""
