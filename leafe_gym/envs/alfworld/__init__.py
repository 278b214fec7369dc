"""Household tasks of ALFWorld: the official games, and generated ones of the same form.

env.py       `leafe/ALFWorld-v0`
config.py    the arguments, checked
tasks.py     the tasks of a split
house.py     what stands where in a room, and what can be done with it: tables
generate.py  generated games, from a seed
problem.py   a generated game in the planner's language
game.py      one game: the JSON of a `game.tw-pddl` file
folder.py    the official layout of folders, read and written
engine.py    the planner's library plays a game and comes back; imported when first needed
grammar.py   the texts of the games, at a tenth of the library's time
names.py     how the texts call things
library.py   the library, or what to install

The planner (fast-downward-textworld) is GPL-3; it comes with the extra `alfworld` only.
"""
