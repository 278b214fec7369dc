"""Agents: what spends a budget on a task and returns a tree.

agent.py           the four methods; what a method of one's own subclasses
config.py          AgentConfig
frontier.py        which attempt comes next
plan.py            one attempt to make, as a value
rollout.py         making it: act, reflect
accounting.py      charging it: the ledger, cuts, endings `budget`
outcomes.py        equal actions in equal states have equal outcomes
task_runner.py     one task: attempts side by side, committed in canonical order
env_pool.py        environment instances; env_thread.py: each in a thread of its own
stepping.py        calls into an environment
snapshot_cache.py  states to restore, within a byte budget
sync.py            asynchronous calls from ordinary code
"""
