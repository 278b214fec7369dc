"""Other libraries' environments as text environments that can be rolled back.

base.py           what they share
toy_text.py       Gymnasium's FrozenLake, Taxi, CliffWalking, Blackjack in words; needs no extra
textarena.py      single-player games of TextArena; extra `textarena`
gem.py            games of GEM; extra `gem`
reasoning_gym.py  questions of reasoning-gym; extra `reasoning-gym`
answer_check.py   which answers may reach its scorers
tau2.py           tickets of tau2-bench; extra `tau2`
openenv.py        environments of OpenEnv servers; extra `openenv`
verifiers.py      tasksets of verifiers; extra `verifiers`
stepped.py        a program that calls a model, as something that is stepped
"""
