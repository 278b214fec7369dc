"""TextWorld's generated games, and other story files of the Z-machine.

env.py       `leafe/TextWorld-v0`
jericho.py   `leafe/Jericho-v0`: any story file
spec.py      which games are generated: the arguments, checked
games.py     generated games in a cache folder
progress.py  what an episode changes, taken out of a running game and put back
story.py     is a file a whole story?
commands.py  a player's words on their way to a story
words.py     texts of the games without banner, prompt and status line
library.py   the library, or what to install

Does not use `textworld.gym`, which is no Gymnasium environment: the core layer is.
"""
