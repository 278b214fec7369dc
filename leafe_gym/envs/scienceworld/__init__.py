"""ScienceWorld: thirty science tasks in a house, simulated in Java.

env.py          `leafe/ScienceWorld-v0`
catalogue.py    the tasks, their variations, splits and simplifications, without Java
tasks.py        all of them as lists of tasks
interpreter.py  one running game: begin, do, list what can be done, do it all again
pool.py         running games that wait for the next one who comes their way
jvm.py          calls into Java, for any number of games that do not meet
process.py      the Java process, shared by all environments of a Python process
wire.py         calls over a socket
library.py      where Java and the simulator are, or what to install
words.py        the simulator's answers: which ones refuse

The library's own `ScienceWorldEnv` is not used: it starts a Java process for each environment,
has no seed, and lists possible actions at each step with the luck that the game itself needs.
"""
