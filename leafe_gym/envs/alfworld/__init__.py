"""Household tasks of ALFWorld: the official games, and generated ones in the same format.

env.py             `leafe/ALFWorld-v0`
config.py          checked arguments
tasks.py           task lists
room_tables.py     rooms, receptacles and objects, and what can be done with them
generate.py        generated games, from a seed
pddl_problem.py    a generated game as a PDDL problem
game_file.py       one game: the JSON of a `game.tw-pddl` file
official_files.py  the official folder layout, read and written
planner_game.py    a running game in the planner's library; imported when first needed
grammar.py         texts of the games, ten times faster than the library
text_names.py      names of objects in the texts

The planner (fast-downward-textworld) is GPL-3; only the extra `alfworld` installs it.
"""
