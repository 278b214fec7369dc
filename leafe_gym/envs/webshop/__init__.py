"""WebShop: find, configure and buy a product in a shop, after Yao et al. 2022 (arXiv 2207.01206).

env.py         `leafe/WebShop-v0`
tasks.py       goals as tasks, in splits
pages.py       where a click leads, and what a page shows
shop.py        products, goals and ranking of one data folder, shared by a process
build.py       from the official files, or the catalogue of our own, to a shop's folder
cache.py       folders that are made once
store.py       many records in one file, read one at a time
ranking.py     BM25
products.py    a record of the official file as a product
goals.py       instructions as goals: price caps, order, splits
reward.py      what a purchase is worth
words.py       words of searches, of names, of colours
files.py       where the official files are, and their records one by one
catalogue.py   a small shop of our own, made from the words in `wares.py`
library.py     the packages of the extra `webshop`

No code of the original is used: it needs a web server's templates, Java for its index and a spaCy
model that is in no package index.
"""
