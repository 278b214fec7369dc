"""The words of the generated catalogue."""

from __future__ import annotations

from typing import NamedTuple


class ProductKind(NamedTuple):
    """A kind of product.

    Attributes:
        noun: its name.
        category: one of a few categories.
        path: levels of the category, separated by ">".
        prices: lowest and highest price in dollars.
        groups: names of its options, keys of `OPTIONS`.
        uses: possible uses.
        traits: attributes that some products have.
    """

    noun: str
    category: str
    path: str
    prices: tuple[int, int]
    groups: tuple[str, ...]
    uses: tuple[str, ...]
    traits: tuple[str, ...]


BRANDS = """
    Alderbrook Birchwell Calmora Dunfield Elmstead Fennmark Gullhaven Harrowby Ironvale Juniperson
    Kestrelle Larkhill Mossgrove Nettleton Ospreya Pinewick Quillford Rowanby Stonelea Tarnbeck
    """.split()  # noqa: SIM905 - twenty lines otherwise

OPTIONS = {
    "color": [
        *("black", "white", "navy", "grey", "red", "green"),
        *("purple", "orange", "brown", "pink", "teal", "yellow"),
    ],
    "size": ["small", "medium", "large", "x-large"],
    "shoe size": ["6", "7", "8", "9", "10", "11"],
    "scent": ["lavender", "citrus", "vanilla", "cedar", "unscented"],
    "flavor name": ["salted", "honey", "chili", "cocoa", "plain"],
    "item package quantity": ["1", "2", "4", "6"],
    "length": ["3 feet", "6 feet", "10 feet"],
}

_CLOTHES = ("machine wash", "long lasting", "quick drying", "hand wash", "stretch fabric")
_TECH = ("fast charging", "easy carry", "high speed", "water resistant", "easy install")
_HOME = ("easy clean", "space saving", "easy assemble", "heavy duty", "non slip")
_BEAUTY = ("cruelty free", "fragrance free", "sensitive skin", "plant based", "paraben free")
_FOOD = ("gluten free", "low sugar", "non gmo", "high protein", "individually wrapped")

WARES = (
    ProductKind(
        "Rain Jacket",
        "fashion",
        "Clothing > Outerwear > Jackets",
        (35, 110),
        ("color", "size"),
        ("hiking", "commuting", "cycling"),
        (*_CLOTHES, "taped seams", "packable hood"),
    ),
    ProductKind(
        "Linen Shirt",
        "fashion",
        "Clothing > Tops > Shirts",
        (18, 60),
        ("color", "size"),
        ("summer", "office", "travel"),
        (*_CLOTHES, "button closure", "relaxed fit"),
    ),
    ProductKind(
        "Fleece Pullover",
        "fashion",
        "Clothing > Tops > Sweaters",
        (22, 80),
        ("color", "size"),
        ("camping", "winter", "skiing"),
        (*_CLOTHES, "half zip", "thumb holes"),
    ),
    ProductKind(
        "Running Shorts",
        "fashion",
        "Clothing > Activewear > Shorts",
        (12, 45),
        ("color", "size"),
        ("marathon", "gym", "tennis"),
        (*_CLOTHES, "elastic waist", "zip pocket"),
    ),
    ProductKind(
        "Canvas Sneakers",
        "fashion",
        "Shoes > Casual > Sneakers",
        (28, 90),
        ("color", "shoe size"),
        ("walking", "school", "skating"),
        ("rubber sole", "arch support", "memory foam", "vegan leather", "wide toe"),
    ),
    ProductKind(
        "Trail Boots",
        "fashion",
        "Shoes > Outdoor > Boots",
        (55, 160),
        ("color", "shoe size"),
        ("mountains", "mud", "snow"),
        ("rubber sole", "ankle support", "steel shank", "slip resistant", "gore lining"),
    ),
    ProductKind(
        "Wireless Headphones",
        "electronics",
        "Electronics > Audio > Headphones",
        (25, 180),
        ("color",),
        ("travel", "studio", "sleep"),
        (*_TECH, "noise cancelling", "foldable band"),
    ),
    ProductKind(
        "Bluetooth Speaker",
        "electronics",
        "Electronics > Audio > Speakers",
        (20, 150),
        ("color",),
        ("beach", "kitchen", "shower"),
        (*_TECH, "stereo sound", "hands free"),
    ),
    ProductKind(
        "Charging Cable",
        "electronics",
        "Electronics > Accessories > Cables",
        (6, 30),
        ("color", "length"),
        ("phone", "tablet", "car"),
        (*_TECH, "braided nylon", "gold plated"),
    ),
    ProductKind(
        "Tablet Stand",
        "electronics",
        "Electronics > Accessories > Stands",
        (12, 50),
        ("color",),
        ("desk", "bed", "cooking"),
        (*_TECH, "aluminum alloy", "adjustable angle"),
    ),
    ProductKind(
        "Desk Lamp",
        "garden",
        "Home > Lighting > Lamps",
        (15, 85),
        ("color",),
        ("reading", "drawing", "dorm"),
        (*_HOME, "dimmable light", "touch control"),
    ),
    ProductKind(
        "Storage Basket",
        "garden",
        "Home > Storage > Baskets",
        (10, 48),
        ("color", "size"),
        ("laundry", "toys", "closet"),
        (*_HOME, "woven rope", "carry handles"),
    ),
    ProductKind(
        "Throw Blanket",
        "garden",
        "Home > Bedding > Blankets",
        (16, 75),
        ("color", "size"),
        ("sofa", "picnic", "nursery"),
        (*_HOME, "super soft", "double sided"),
    ),
    ProductKind(
        "Bath Mat",
        "garden",
        "Home > Bath > Mats",
        (9, 40),
        ("color", "size"),
        ("shower", "sink", "cabin"),
        (*_HOME, "memory foam", "quick drying"),
    ),
    ProductKind(
        "Hand Cream",
        "beauty",
        "Beauty > Skin Care > Creams",
        (5, 28),
        ("scent", "item package quantity"),
        ("gardeners", "nurses", "winter"),
        (*_BEAUTY, "shea butter", "fast absorbing"),
    ),
    ProductKind(
        "Shampoo Bar",
        "beauty",
        "Beauty > Hair Care > Shampoo",
        (6, 24),
        ("scent", "item package quantity"),
        ("curls", "travel", "swimmers"),
        (*_BEAUTY, "tea tree", "sulfate free"),
    ),
    ProductKind(
        "Beard Oil",
        "beauty",
        "Beauty > Shaving > Oils",
        (8, 32),
        ("scent",),
        ("barbers", "travel", "gifts"),
        (*_BEAUTY, "argan extract", "natural ingredients"),
    ),
    ProductKind(
        "Trail Mix",
        "grocery",
        "Grocery > Snacks > Nuts",
        (7, 35),
        ("flavor name", "item package quantity"),
        ("hiking", "school", "office"),
        (*_FOOD, "dry roasted", "resealable bag"),
    ),
    ProductKind(
        "Oat Cookies",
        "grocery",
        "Grocery > Snacks > Cookies",
        (6, 30),
        ("flavor name", "item package quantity"),
        ("lunchbox", "breakfast", "gifts"),
        (*_FOOD, "whole grain", "dairy free"),
    ),
    ProductKind(
        "Herbal Tea",
        "grocery",
        "Grocery > Beverages > Tea",
        (5, 26),
        ("flavor name", "item package quantity"),
        ("evening", "digestion", "fasting"),
        (*_FOOD, "caffeine free", "loose leaf"),
    ),
)
