"""capsynth: captions of real images as prompts for synthetic training sets.

The library has three floors, and imports only run down: stages (packing, captioning, ...) use
the domain (datasets, recipes, metrics, statistics), and both use the ground (shards, records,
seeding, resuming, progress, errors). No stage imports another stage.
"""
