"""Puts this folder on the import path, so that tests below share its environments."""
