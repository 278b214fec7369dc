"""Many tasks in one resumable run folder.

config.py  ExploreConfig
engine.py  explore: one event loop, many attempts at the same time
"""
