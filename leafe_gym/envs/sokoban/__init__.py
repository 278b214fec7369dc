"""Sokoban as text: push every box onto a target.

env.py         `leafe/Sokoban-v0`
config.py      checked arguments
tasks.py       task lists
rules.py       the board and moves
parse.py       reading and checking boards
boxoban.py     level files
levels.py      generated levels, from a seed
symmetry.py    canonical form and split of a board, independent of rotation and reflection
feedback.py    comments on moves
solver.py      optimal solutions
graph.py       all reachable positions of small levels
bitboard.py    sets of cells as integers
board_text.py  finding a board within a text, for viewers
"""
