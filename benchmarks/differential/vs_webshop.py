"""`leafe/WebShop-v0` against WebShop's own loader, goals and reward.

    python benchmarks/differential/vs_webshop.py --original WebShop [--data FOLDER] [--tagger NAME]

`--original` is a checkout of https://github.com/princeton-nlp/WebShop; it needs the packages
`thefuzz`, `tqdm` and `rich`. `--data` is a folder with its files (`items_shuffle_1000.json`,
`items_ins_v2_1000.json`, `items_human_ins.json`); without it a made-up catalogue is written in the
same form, with options that stand twice. `--episodes` products are read, and `--steps` purchases of
each goal are scored. Price limits, which the original draws without a seed, are set equal.

With `--tagger` both sides take the nouns from that spaCy pipeline; WebShop's own is
`en_core_web_lg`. Without it both sides take the nouns of this package's heuristic, so that the type
factor's arithmetic is compared, but not the tagger.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import random
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from _compare import Counts, Fields, commit_of, options, report

from leafe_gym.envs.webshop import builtin_catalogue
from leafe_gym.envs.webshop.goals import ShoppingGoal, human_goals, synthetic_goals
from leafe_gym.envs.webshop.products import Product, read_product
from leafe_gym.envs.webshop.reward import score
from leafe_gym.envs.webshop.taggers import find_tagger
from leafe_gym.envs.webshop.word_lists import nouns

FILES = ("items_shuffle_1000.json", "items_ins_v2_1000.json", "items_human_ins.json")
UNUSED = (
    "flask", "pyserini", "pyserini.search", "pyserini.search.lucene", "rank_bm25", "cleantext",
    "rich",
)  # fmt: skip
"""What the original imports for its web site and its search."""


class _Anything(types.ModuleType):
    """A module of which every attribute is a function that does nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: None


class _Spacy(types.ModuleType):
    """In place of spaCy: has one pipeline, whatever its name, or this package's nouns."""

    def __init__(self, pipeline: Any) -> None:
        super().__init__("spacy")
        self._pipeline = pipeline

    def load(self, _: str) -> Any:
        """The pipeline."""
        if self._pipeline is not None:
            return self._pipeline
        return lambda text: [types.SimpleNamespace(text=one, pos_="NOUN") for one in nouns(text)]


def original(checkout: Path, tagger: str | None) -> tuple[Any, Any]:
    """(engine, goal) of the checkout, without the packages for its web site."""
    for name in UNUSED:
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = _Anything(name)
    pipeline = None if tagger is None else importlib.import_module("spacy").load(tagger)
    sys.modules["spacy"] = _Spacy(pipeline)
    sys.path.insert(0, str(checkout))
    engine = importlib.import_module("web_agent_site.engine.engine")
    return engine, importlib.import_module("web_agent_site.engine.goal")


def write_catalogue(folder: Path) -> None:
    """The made-up catalogue in WebShop's form; each fifth product has an option value twice."""
    streams = builtin_catalogue.streams()
    products = [json.loads(json.dumps(one)) for _, one in streams.products]
    for product in products[::5]:
        for values in product["customization_options"].values():
            values.append(dict(values[0]))
    human = {asin: entry for _, (asin, entry) in streams.human}
    attributes = {
        asin: {
            **entry,
            "instruction": human[asin][0]["instruction"].partition(", with ")[0],
            "instruction_attributes": human[asin][0]["instruction_attributes"],
        }
        for _, (asin, entry) in streams.attributes
    }
    for product in products:
        product["images"] = ["x"]
    for name, content in zip(FILES, (products, attributes, human), strict=True):
        (folder / name).write_text(json.dumps(content))


def main() -> None:
    """Load, and score purchases."""
    parser = options(__doc__ or "", "checkout of WebShop", data="folder with its files")
    parser.add_argument("--tagger", help="spaCy pipeline for both sides")
    args = parser.parse_args()
    tagger = find_tagger(args.tagger)
    args.script += "_spacy" if args.tagger else ""
    engine, goal_module = original(args.original, args.tagger)
    counts = Counts()
    with tempfile.TemporaryDirectory() as made:
        folder = args.data or Path(made)
        if args.data is None:
            write_catalogue(folder)
        products, attributes, human = (json.loads((folder / name).read_text()) for name in FILES)
        ours = {
            one["asin"]: read_product(
                one, "product", tuple(attributes.get(one["asin"], {}).get("attributes", ()))
            )
            for one in products[: args.episodes]
        }
        engine.HUMAN_ATTR_PATH, engine.DEFAULT_ATTR_PATH = folder / FILES[2], folder / FILES[1]
        for kind, entries in (("human", human), ("synthetic", attributes)):
            with contextlib.redirect_stdout(io.StringIO()):
                loaded = engine.load_products(
                    str(folder / FILES[0]), args.episodes, human_goals=kind == "human"
                )[:3]
                theirs = goal_module.get_goals(loaded[0], loaded[2], kind == "human")
            mine, other = (ours, entries, tagger), (loaded, theirs)
            _compare_kind(counts, kind, goal_module, mine, other, args)
    name = args.tagger or "this package's nouns on both sides"
    report(counts, args, {"WebShop": commit_of(args.original), "tagger": name})


def _compare_kind(counts: Counts, kind: str, module: Any, mine: Any, other: Any, args: Any) -> None:
    """Compare products, goals and rewards for one kind of goals."""
    (ours, entries, tagger), ((items, by_asin, _), theirs) = mine, other
    for item in items:
        counts.numbers["products"] += 1
        counts.compare({"product": item["asin"]}, _shown(ours[item["asin"]]), _loaded(item))
    make = human_goals if kind == "human" else synthetic_goals
    made = [
        (asin, goal)
        for number, (asin, product) in enumerate(ours.items())
        if asin in entries
        for goal in make(number, product, entries[asin], asin)
    ]
    counts.numbers[f"{kind}_goals"] += len(made)
    counts.compare({"kind": kind}, {"goals": len(made)}, {"goals": len(theirs)})
    rng = random.Random(args.seed)
    asins = list(ours)
    for (asin, goal), their in zip(made, theirs, strict=False):
        counts.compare(
            {"kind": kind, "goal": goal.instruction},
            {"product": asin, "instruction": _plain(goal.instruction)},
            {"product": their["asin"], "instruction": _plain(their["instruction_text"])},
        )
        for _ in range(args.steps):
            bought = asin if rng.random() < 0.4 else rng.choice(asins)
            chosen = [
                rng.choice(values) for _, values in ours[bought].options if rng.random() < 0.8
            ]
            counts.numbers["purchases"] += 1
            there = _their_reward(module, by_asin[bought], their, goal, ours[bought], chosen)
            here = score(ours[bought], chosen, goal, ours[asin], tagger).reward
            where = {"goal": goal.instruction, "bought": bought, "chosen": chosen}
            counts.compare(where, {"reward": round(here, 9)}, {"reward": there})


def _their_reward(
    module: Any, item: Any, goal: Any, mine: ShoppingGoal, product: Product, chosen: list[str]
) -> float:
    named = {str(number): value for number, value in enumerate(chosen)}
    same_price = {**goal, "price_upper": mine.price_upper}
    return round(float(module.get_reward(item, same_price, product.price, named)), 9)


def _plain(instruction: str) -> str:
    return instruction.partition(", and price lower than")[0]


def _shown(product: Product) -> Fields:
    bullets = [one for one in product.bullets if one]
    return {
        "title": product.name, "query": product.query, "tag": product.price_tag,
        "options": [[name, list(values)] for name, values in product.options],
        "bullets": bullets, "description": product.description,
    }  # fmt: skip


def _loaded(item: Any) -> Fields:
    return {
        "title": item["Title"], "query": item["query"], "tag": item["Price"],
        "options": [[name, list(values)] for name, values in item["options"].items()],
        "bullets": [one for one in item["BulletPoints"] if one],
        "description": item["Description"] or "",
    }  # fmt: skip


if __name__ == "__main__":
    main()
