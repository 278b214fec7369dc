"""Policies without a model, for tests, demonstrations and examples.

Each player reads what a chat model would read and replies in the same form. Players make mistakes
with a given probability, find them when asked to reflect, and follow experiences in the prompt.
"""
