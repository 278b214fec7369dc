"""TextWorldExpress: eight small text games in a simulator that runs in Java.

env.py     `leafe/TextWorldExpress-v0` and its tasks
engine.py  one running game, and the Java process that all games of a process share

The library's own `TextWorldExpressEnv` is not used: it starts one Java process per environment.
"""
