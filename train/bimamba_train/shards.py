"""Token shards, as `bimamba tokenize --shards` writes them, and batches made of them.

A batch is a function of the seed and its number alone: nothing has to be remembered to go on after a kill, and one process that adds up
two batches sees what two processes see.

A shard, little-endian:
    0   8 bytes  "BMTOKENS"
    8   uint32   version, 1
    12  uint32   bytes a token, 2 or 4
    16  uint64   rows
    24  uint64   tokens of all rows
    32  tokens; then rows uint32, the lengths; then rows uint32, how many of each row's tokens are its prompt
"""
from __future__ import annotations

import bisect
import dataclasses
import glob
import mmap
import os
import struct

import numpy as np
import torch

MAGIC = b"BMTOKENS"
HEADER = struct.Struct("<8sIIQQ")


class Shard:
    """One file, mapped: tokens are read when they are used."""

    def __init__(self, path: str) -> None:
        size = os.path.getsize(path)
        with open(path, "rb") as f:
            head = f.read(HEADER.size)
            if len(head) < HEADER.size or head[:8] != MAGIC:
                raise ValueError(f"{path}: not a token shard: make one with bimamba tokenize --shards")
            _, version, width, rows, tokens = HEADER.unpack(head)
            if version != 1 or width not in (2, 4):
                raise ValueError(f"{path}: version {version} with {width} bytes a token is not known here")
            want = HEADER.size + tokens * width + 8 * rows
            if size != want:
                raise ValueError(f"{path}: {size} bytes, but its header asks for {want}: it is cut or damaged")
            self._map = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        at = HEADER.size
        self.tokens = np.frombuffer(self._map, np.dtype("<u2" if width == 2 else "<u4"), tokens, at)
        at += tokens * width
        self.lengths = np.frombuffer(self._map, np.dtype("<u4"), rows, at)
        self.prompts = np.frombuffer(self._map, np.dtype("<u4"), rows, at + 4 * rows)
        self.starts = np.concatenate(([0], np.cumsum(self.lengths, dtype=np.int64)))
        if self.starts[-1] != tokens or (self.prompts > self.lengths).any():
            raise ValueError(f"{path}: its rows do not add up to its tokens")


def write_shard(path: str, rows: list[tuple[list[int], int]], width: int = 2) -> None:
    """rows of (tokens, length of the prompt). For tests; the Go command writes the real ones."""
    with open(path, "wb") as f:
        f.write(HEADER.pack(MAGIC, 1, width, len(rows), sum(len(t) for t, _ in rows)))
        f.write(np.array([i for t, _ in rows for i in t], np.dtype("<u2" if width == 2 else "<u4")).tobytes())
        f.write(np.array([len(t) for t, _ in rows], np.dtype("<u4")).tobytes())
        f.write(np.array([p for _, p in rows], np.dtype("<u4")).tobytes())


def open_shards(pattern: str) -> list[Shard]:
    paths = sorted(glob.glob(pattern))
    if not paths:
        raise FileNotFoundError(f"{pattern}: no token shards there")
    return [Shard(p) for p in paths]


@dataclasses.dataclass
class Batch:
    """ids (b,t+1): inputs are all but the last, targets all but the first. seg (b,t+1), or None, numbers packed texts. weights (b,t), of targets.
    text is how many of the inputs are no padding."""

    ids: torch.Tensor
    seg: torch.Tensor | None
    weights: torch.Tensor
    text: int

    def pin_memory(self) -> "Batch":
        return Batch(self.ids.pin_memory(), self.seg.pin_memory() if self.seg is not None else None, self.weights.pin_memory(), self.text)

    def to(self, device: torch.device) -> "Batch":
        move = lambda v: v.to(device, non_blocking=True)  # noqa: E731
        return Batch(move(self.ids), move(self.seg) if self.seg is not None else None, move(self.weights), self.text)


@dataclasses.dataclass(frozen=True)
class Source:
    """Shards, and their share of the batches at the start of the run and at its end; between them the share moves evenly.

    drop is the probability that a token of a prompt is left out, where a row is drawn: what words are said may vary."""

    shards: str
    weight: float = 1.0
    weight_end: float | None = None
    drop: float = 0.0


class Windows:
    """Batch number k of plain text: windows of length+1 tokens of all shards, each token once an epoch, in an order of the seed's."""

    def __init__(self, source: Source, batch: int, length: int, seed: int) -> None:
        self.shards, self.batch, self.length, self.seed = open_shards(source.shards), batch, length, seed
        self.counts = [max(0, (len(s.tokens) - 1) // length) for s in self.shards]
        self.total = sum(self.counts)
        if self.total == 0:
            raise ValueError(f"{source.shards}: fewer than {length + 1} tokens")

    def make(self, k: int, progress: float) -> Batch:  # noqa: ARG002
        ids = np.empty((self.batch, self.length + 1), np.int64)
        for r in range(self.batch):
            epoch, i = divmod(k * self.batch + r, self.total)
            i = shuffled(i, self.total, self.seed + epoch)
            for s, n in zip(self.shards, self.counts):
                if i < n:
                    ids[r] = s.tokens[i * self.length : i * self.length + self.length + 1]
                    break
                i -= n
        return Batch(torch.from_numpy(ids), None, torch.ones(self.batch, self.length), self.batch * self.length)


def shuffled(i: int, n: int, key: int) -> int:
    """Where number i of n goes: a permutation that needs no table (a Feistel network over the next power of four, walked until it is inside)."""
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = i >> half, i & mask
        for r in range(4):
            h = (right * 0x9E3779B1 + key * 0x85EBCA6B + r * 0xC2B2AE35) & 0xFFFFFFFF
            h ^= h >> 15
            h = h * 0x2C1B3C6D & 0xFFFFFFFF
            left, right = right, left ^ ((h ^ h >> 13) & mask)
        i = left << half | right
        if i < n:
            return i


class Packed:
    """Batch number k of examples: rows drawn from the sources by their shares, packed side by side so that little is padding.

    A target counts 1 in a completion and prompt_weight in a prompt; what follows a row's end, and padding, count nothing."""

    def __init__(self, sources: list[Source], batch: int, length: int, seed: int, prompt_weight: float, padding: int) -> None:
        self.sources, self.batch, self.length, self.seed = sources, batch, length, seed
        self.prompt_weight, self.padding = prompt_weight, padding
        self.shards = [open_shards(s.shards) for s in sources]
        self.ends = [np.cumsum([len(s.lengths) for s in group]).tolist() for group in self.shards]
        self.rows, self.drop = np.array([e[-1] for e in self.ends]), np.array([s.drop for s in sources])

    def _draw(self, g: np.random.Generator, shares: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows whose tokens fill `room`, end to end: (tokens, each row's length, each row's prompt)."""
        kinds, spans, prompts, total = [], [], [], 0
        while total < room:
            kind = g.choice(len(shares), 512, p=shares)
            at = (g.random(512) * self.rows[kind]).astype(np.int64)
            for k, i in zip(kind.tolist(), at.tolist()):
                s = bisect.bisect_right(self.ends[k], i)
                shard = self.shards[k][s]
                i -= self.ends[k][s - 1] if s else 0
                begin = int(shard.starts[i])
                n = min(int(shard.starts[i + 1]) - begin, self.length + 1)
                kinds.append(k)
                spans.append(shard.tokens[begin : begin + n])
                prompts.append(min(int(shard.prompts[i]), n))
                total += n
                if total >= room:
                    break
        tokens, lengths, prompt = np.concatenate(spans), np.array([len(v) for v in spans]), np.array(prompts)
        drop = self.drop[kinds] * (prompt > 4)
        if drop.any():  # the first and last token of a prompt say what the task is, and where the answer begins
            at, row = _within(lengths)
            gone = (g.random(len(tokens)) < drop[row]) & (at > 0) & (at < prompt[row] - 1)
            fewer = np.bincount(row[gone], minlength=len(lengths))
            tokens, lengths, prompt = tokens[~gone], lengths - fewer, prompt - fewer
        return tokens, lengths, prompt

    def make(self, k: int, progress: float) -> Batch:
        g = np.random.default_rng([self.seed, k])
        shares = np.array([s.weight + ((s.weight if s.weight_end is None else s.weight_end) - s.weight) * progress for s in self.sources])
        room = self.length + 1
        tokens, lengths, prompts = self._draw(g, shares / shares.sum(), self.batch * room)
        where, number = _pack(lengths.tolist(), self.batch, room)
        # Each token's place. What fits nowhere is left out.
        at, row = _within(lengths)
        fits = where[row] >= 0
        tokens, at, row = tokens[fits], at[fits], row[fits]
        place = where[row] + at
        ids = np.full(self.batch * room, self.padding, np.int64)
        seg = np.full(self.batch * room, 1 << 20, np.int64)  # padding is a text of its own
        weights = np.zeros(self.batch * room, np.float32)
        ids[place], seg[place] = tokens, number[row]
        weights[place] = np.where(at == 0, 0.0, np.where(at < prompts[row], self.prompt_weight, 1.0))
        ids, seg, weights = (v.reshape(self.batch, room) for v in (ids, seg, weights))
        return Batch(torch.from_numpy(ids), torch.from_numpy(seg), torch.from_numpy(weights[:, 1:].copy()), int((seg[:, :-1] < 1 << 20).sum()))


def _within(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of rows that lie end to end: each token's place in its row, and the row's number."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    return np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths), row


def _pack(lengths: list[int], rows: int, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each text begins in `rows` rows of `room` places, -1 if it fits nowhere, and which text of its row it is. Longest first,
    each into the fullest row that still takes it."""
    begin, number = np.full(len(lengths), -1), np.zeros(len(lengths), np.int64)
    spaces: list[list[int]] = [[] for _ in range(room + 1)]  # rows by the places that are left
    spaces[room] = list(range(rows))
    open_ = 1 << room  # bit s: some row has s places left
    count = [0] * rows
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        n = lengths[i]
        fitting = open_ >> n
        if not fitting:
            continue
        space = n + (fitting & -fitting).bit_length() - 1
        r = spaces[space].pop()
        if not spaces[space]:
            open_ &= ~(1 << space)
        if space > n:
            spaces[space - n].append(r)
            open_ |= 1 << space - n
        begin[i], number[i] = r * room + room - space, count[r]
        count[r] += 1
    return begin, number
