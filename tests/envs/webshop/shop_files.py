"""Small files in WebShop's official layout, with the oddities that the real ones have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PRODUCTS: list[dict[str, Any]] = [
    {
        "asin": "B000000001",
        "name": "Alder Rain Jacket Travel Hood",
        "category": "fashion",
        "query": " Rain Jackets ",
        "product_category": "Clothing \u203a Outerwear \u203a Jackets",
        "full_description": "Keeps   you dry.",
        "small_description": ["Taped seams.", "Two pockets."],
        "pricing": "$1,010.99$1,020",
        "customization_options": {
            "Color": [
                {"value": " Navy/White ", "image": "x.png"},
                {"value": "black", "image": None},
            ],
            "Size": [{"value": "medium"}, {"value": "large"}, {"value": "medium"}],
            "fit": None,
        },
        "images": ["x"],
        "product_information": {"weight": 3},
    },
    {
        "asin": "B000000002",
        "name": "Birch Linen Shirt",
        "category": "fashion",
        "query": "shirts",
        "product_category": "Clothing \u203a Tops",
        "full_description": None,
        "small_description": "One line.",
        "pricing": "$10.99$20",
        "customization_options": None,
        "images": ["x"],
    },
    {
        "asin": "B000000003",
        "name": "Jasmine Tea, 12 oz",
        "category": "grocery",
        "query": "tea",
        "product_category": "Grocery",
        "full_description": "",
        "small_description": None,
        "pricing": "",
        "customization_options": "",
        "images": ["x"],
    },
    {"asin": "B00000000TOOLONG", "name": "Left Out"},
    {"asin": "nan", "name": "Left Out"},
    {"asin": "B000000003", "name": "A second of the same number"},
]
ATTRIBUTES: dict[str, Any] = {
    "B000000001": {"attributes": ["taped seams", "machine wash"]},
    "B000000002": {
        "attributes": ["linen"],
        "instruction": "find a linen shirt",
        "instruction_attributes": ["linen"],
    },
    "B000000099": {"attributes": ["of no product here"]},
}
HUMAN: dict[str, Any] = {
    "B000000001": [
        {
            "instruction": "i need a rain jacket in black.",
            "instruction_attributes": ["taped seams"],
            "instruction_options": ["black", "large"],
        },
        {
            "instruction": "without attributes, so left out",
            "instruction_attributes": [],
            "instruction_options": [],
        },
    ],
    "B000000002": [
        {
            "instruction": "a shirt of linen",
            "instruction_attributes": ["linen"],
            "instruction_options": {"size": "large"},
        }
    ],
    "B000000003": [
        {
            "instruction": "jasmine tea",
            "instruction_attributes": ["jasmine"],
            "instruction_options": [],
        }
    ],
    "B000000098": [{"instruction": "of no product here"}],
}
REVIEWS: list[dict[str, Any]] = [
    {
        "asin": "B000000001",
        "average_rating": 4.2,
        "reviews": [
            {"title": "Dry", "stars": 5.0, "review": "All day."},
            {"title": "Fine", "score": 3},
        ],
    }
]


def write(folder: Path, *, suffix: str = "", **files: Any) -> Path:
    """The four files; `products=` and so on replace one, None leaves it out, text is as it is."""
    names = {
        "products": (f"items_shuffle{suffix}.json", PRODUCTS),
        "attributes": (f"items_ins_v2{suffix}.json", ATTRIBUTES),
        "human": ("items_human_ins.json", HUMAN),
        "reviews": ("reviews.json", REVIEWS),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for key, (name, usual) in names.items():
        content = files.get(key, usual)
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif content is not None:
            text = content if isinstance(content, str) else json.dumps(content)
            (folder / name).write_text(text, "utf-8")
    return folder


def without(field: str) -> list[dict[str, Any]]:
    """The products, the second without a field."""
    first, second, *rest = PRODUCTS
    return [first, {name: value for name, value in second.items() if name != field}, *rest]


def with_(**fields: Any) -> list[dict[str, Any]]:
    """The products, the second with other fields."""
    first, second, *rest = PRODUCTS
    return [first, {**second, **fields}, *rest]
