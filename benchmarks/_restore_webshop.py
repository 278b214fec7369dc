"""WebShop: searches among 200,000 products, what loading them takes, and what a snapshot holds.

The file is made here, in the official form: words drawn by Zipf's law, so that some are in nearly
every text and most in few, as in a real catalogue. Loading runs in processes of its own, so that
their memory is theirs.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Report, alternate, median, per_call

PRODUCTS, WORDS, QUERIES, LOADS = 200_000, 200_000, 200, 5
ENV, SEED, NUMBER = "leafe/WebShop-v0", 3, 100


def measure() -> Report:
    """Loads and searches of `PRODUCTS` products, and the snapshots."""
    whole = loads(PRODUCTS)
    whole.figures |= _snapshots()
    return whole


def loads(products: int) -> Report:
    """A first load, and `LOADS` from the cache, the last one with `QUERIES` searches."""
    from leafe_gym.envs.webshop.shop import check_packages

    check_packages()
    with tempfile.TemporaryDirectory(prefix="leafe-webshop-") as name:
        folder = Path(name)
        write(folder, products)
        size = (folder / "items_shuffle.json").stat().st_size
        first = _load(folder, 0)
        later = [_load(folder, 0) for _ in range(LOADS - 1)]
        last = _load(folder, QUERIES)
        kept = sum(path.stat().st_size for path in (folder / "cache").rglob("*"))
    return Report(
        figures={
            "webshop_search_ms": median(last["search_ms"]),
            "webshop_step_search_ms": median(last["step_ms"]),
            "webshop_first_load_s": first["load_s"],
            "webshop_load_s": median([one["load_s"] for one in (*later, last)]),
            "webshop_first_peak_mb": first["peak_mb"],
            "webshop_peak_mb": last["peak_mb"],
        },
        goals={"webshop_search_ms": ("<=", 50)},
        meta={
            "webshop": {
                "products": products,
                "queries": QUERIES,
                "first_loads": 1,
                "loads": LOADS,
                "slowest_search_ms": round(max(last["search_ms"]), 1),
                "file_mb": round(size / 1e6),
                "cache_mb": round(kept / 1e6),
                "peak_mb_before_loading": round(last["idle_mb"]),
            }
        },
    )


def write(folder: Path, products: int) -> None:
    """The files of a shop with so many products and as many goals as WebShop has people's."""
    rng = np.random.default_rng(0)
    words = np.array([f"w{number:x}" for number in range(WORDS)])
    weights = 1 / (np.arange(WORDS) + 2.7)
    bounds = np.cumsum(weights / weights.sum())
    with (folder / "items_shuffle.json").open("w") as file:
        file.write("[")
        for number in range(products):
            drawn = words[np.minimum(np.searchsorted(bounds, rng.random(150)), WORDS - 1)]
            record = _record(number, drawn.tolist())
            file.write(f"{',' if number else ''}\n{json.dumps(record)}")
        file.write("]")
    (folder / "items_ins_v2.json").write_text(
        json.dumps({_asin(number): {"attributes": ["long lasting"]} for number in range(products)})
    )
    told = {"instruction": "i need one", "instruction_attributes": ["long lasting"]}
    goals = {_asin(number): [{**told, "instruction_options": []}] for number in range(12_000)}
    (folder / "items_human_ins.json").write_text(json.dumps(goals))


def _asin(number: int) -> str:
    return f"B{number:09d}"


def _record(number: int, words: list[str]) -> dict[str, Any]:
    return {
        "asin": _asin(number),
        "name": " ".join(words[:14]),
        "category": "all",
        "query": " ".join(words[:2]),
        "product_category": " \u203a ".join(words[2:5]),
        "full_description": " ".join(words[14:90]),
        "small_description": [" ".join(words[at : at + 15]) for at in range(90, 150, 15)],
        "pricing": f"${number % 90 + 5}.99",
        "customization_options": {
            "color": [{"value": word, "image": None} for word in words[5:9]],
            "size": [{"value": "small"}, {"value": "large"}],
        },
        "images": ["x"],
    }


def _load(folder: Path, queries: int) -> dict[str, Any]:
    environ = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, __file__, str(folder), str(queries)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _child(folder: str, queries: int) -> dict[str, Any]:
    """Load the shop, search it; what that took."""
    import gymnasium as gym

    import leafe_gym  # noqa: F401 - registers the environment

    idle = _peak_mb()
    began = time.perf_counter()
    env: Any = gym.make(ENV, data=folder, goal=0).unwrapped
    taken = {"load_s": time.perf_counter() - began, "idle_mb": idle}
    env.shop._ranking.search("w1 w2")  # what only the first search does
    samples, steps = [], []
    for query in _queries(env, queries):
        began = time.perf_counter()
        hits = env.shop._ranking.search(query)
        samples.append(1e3 * (time.perf_counter() - began))
        assert hits
        env.reset(seed=0)
        env.shop.search.cache_clear()
        began = time.perf_counter()
        env.step(f"search[{query}]")
        steps.append(1e3 * (time.perf_counter() - began))
    return {**taken, "search_ms": samples, "step_ms": steps, "peak_mb": _peak_mb()}


def _queries(env: Any, count: int) -> Iterator[str]:
    """Each of 3 to 20 words of some product's title and description."""
    rng = random.Random(1)
    for _ in range(count):
        product = env.shop.product(rng.randrange(12_000))
        words = f"{product.name} {product.description}".split()
        yield " ".join(rng.sample(words, rng.randint(3, 20)))


def _peak_mb() -> float:
    """Most memory of this process so far; `getrusage` would count the parent's before it."""
    told = Path("/proc/self/status").read_text()
    return int(told.partition("VmHWM:")[2].split()[0]) / 1024


def _snapshots() -> dict[str, float]:
    import gymnasium as gym
    from _worlds import held_kb

    import leafe_gym as lg

    env = lg.RollbackWrapper(gym.make(ENV, max_steps=None), "native")
    env.reset(seed=SEED)
    ours: Any = env.unwrapped
    commands = ours.walkthrough()[:-1]
    commands += ["click[description]", "click[< prev]", "click[features]", "click[< prev]"] * 5
    for command in commands:
        env.step(command)
    state, mark = ours.get_state(), env.snapshot()
    samples = alternate(
        {
            "restore": lambda: per_call(lambda: ours.set_state(state), NUMBER),
            "wrapper": lambda: per_call(lambda: env.restore(mark), NUMBER),
        }
    )
    return {
        "webshop_restore_ms": 1e3 * median(samples["restore"]),
        "webshop_wrapper_restore_ms": 1e3 * median(samples["wrapper"]),
        "webshop_snapshot_kb": held_kb(env, SEED, commands),
    }


if __name__ == "__main__":
    print(json.dumps(_child(sys.argv[1], int(sys.argv[2]))))
