"""Agents that spend a budget on one task and leave a tree behind.

agent.py      what users build: IndependentSampling, IterativeRefinement, ReflectiveTree
frontier.py   which attempt comes next; no environment, no model
rollout.py    one attempt, from where it starts to how it ends
shelf.py      bringing an environment back to where an attempt starts
commit.py     charging an attempt to the ledger and adding it to the tree
grow.py       the loop over all of that, for one task
"""
