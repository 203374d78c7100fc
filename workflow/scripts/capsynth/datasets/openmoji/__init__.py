"""The embedded data set: scenes drawn from OpenMoji glyphs.

``world`` says what exists (classes, subtypes, senses, backgrounds, how often, in which words),
``drawing`` draws one scene, ``splits`` draws the data sets: the captioned web, the real training
images and the evaluation sets.
"""
