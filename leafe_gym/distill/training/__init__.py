"""From rows to trained weights (paper: Stage 2).

config.py            `TrainConfig`
train.py             `train`: rows in, a trained checkpoint out
job.py               the rows, model and folder of one training, checked
checkpoints.py       the training's folder: what a resume is compared with, checkpoints, result
loss.py              L_cf + beta * L_reh over whole optimizer batches
packing.py           shared prefixes once: a forest of rows as one sequence
packed_attention.py  the mask and positions with which a model reads such a sequence
batch_plan.py        which rows each optimizer step sees
collate.py           those rows as tensors
model_loading.py, assemble.py, trainer.py, model_card.py   loaded by `train` only
"""
