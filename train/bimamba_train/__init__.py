"""Binarization-aware training of Mamba-2: full precision or one bit a weight, with a teacher or without.

The modules, from the inside out: fbi (1-bit linear layers), ssd (the state space in matrix products), model, loss, optim, shards (token
files), teacher, checkpoint (files), parallel (many processes), loop (the run), posttrain (baselines without training), log.
"""
