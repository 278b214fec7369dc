"""WebShop: find, configure and buy a product in a shop, after Yao et al. 2022 (arXiv 2207.01206).

env.py                `leafe/WebShop-v0`
tasks.py              goals as tasks, in splits
pages.py              pages and clicks, as pure functions
shop.py               products, goals and ranking of one data folder, shared within a process
shop_builder.py       builds a shop's folder from the official files or the built-in catalogue
build_cache.py        cached folders
record_file.py        many records in one file, read one at a time
ranking.py            BM25
products.py           a record of the official file as a product
goals.py              instructions as goals: price caps, order, splits
reward.py             the reward of a purchase
taggers.py            nouns of names, by a heuristic or by spaCy
word_lists.py         tokens of searches and names, colour names
official_files.py     locations and records of the official files
builtin_catalogue.py  a small generated catalogue
catalogue_words.py    the words that it is made from

No code of the original is used: it needs a web server's templates, Java for its index and a spaCy
model that is in no package index.
"""
