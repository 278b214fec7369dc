"""The peers that benchmarks compare with, pinned."""

from _harness import Peer

TEXT = Peer("text", ("textarena==0.7.4", "gem-llm==0.1.0"))
TREEQUEST = Peer("treequest", ("treequest==0.3.3",))
TRAIN = Peer(
    "train",
    (
        "torch==2.13.0",
        "transformers==5.23.0",
        "trl==1.16.0",
        "peft==0.21.2",
        "datasets==5.2.0",
        "accelerate==1.15.0",
    ),
)
