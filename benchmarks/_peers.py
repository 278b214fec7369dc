"""The peers that benchmarks compare with, pinned."""

from _harness import Peer

TEXT = Peer("text", ("textarena==0.7.4", "gem-llm==0.1.0"))
TREEQUEST = Peer("treequest", ("treequest==0.3.3",))
