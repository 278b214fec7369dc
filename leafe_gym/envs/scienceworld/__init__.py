"""ScienceWorld: thirty elementary science tasks in a simulated house; the simulator runs in Java.

env.py             `leafe/ScienceWorld-v0`
task_catalogue.py  tasks, variations, splits and simplifications; does not need Java
tasks.py           task lists
interpreter.py     one running game: begin, step, list actions, replay
game_pool.py       idle and held games, shared by all environments of a process
jvm.py             the simulator in a Java process; separates the static variables of games
refusals.py        which answers of the simulator refuse an action

The library's own `ScienceWorldEnv` is not used: it starts one Java process per environment, cannot
be seeded, and draws from the game's random generator when it lists the possible actions.
"""
