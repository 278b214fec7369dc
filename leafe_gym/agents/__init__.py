"""Agents: they spend a budget on a task and return a tree.

agent.py           the four methods, and the base class of others
config.py          AgentConfig
frontier.py        which attempt comes next
plan.py            one attempt to make, as a value
rollout.py         running it: act, reflect
accounting.py      charging it: the ledger, cuts, the ending `budget`
outcomes.py        equal actions in equal states have equal outcomes
task_runner.py     one task: concurrent attempts, committed in canonical order
env_pool.py        environment instances; env_thread.py: each in a thread of its own
stepping.py        calls into an environment
snapshot_cache.py  states to restore, within a byte budget
sync.py            asynchronous calls from ordinary code
"""
