"""Sokoban as text: push every box onto a target.

`rules` holds the board and what a move does, `parse` reads boards, `feedback` says what was wrong
with a move. `levels` draws solvable boards from a seed, `boxoban` reads level files, `canon` puts
every board into one split whatever its rotation, `tasks` lists both kinds as tasks. `solver` gives
optimal solutions, and `env` is the Gymnasium environment `leafe/Sokoban-v0`.
"""
