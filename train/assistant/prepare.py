"""Makes the default model's training rows: prepare.py CORPUS OUT [--wordnet DIR] [--share-alike]

CORPUS holds assistant-train.jsonl.gz, assistant-test-dev.jsonl and more/ (sources and licences: README.md). OUT gets one JSON-lines file for each
source, for `bimamba tokenize --shards`, and counts.json. No row whose utterance is one of the test's, compared without case and punctuation, is kept.
"""
from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import random
import re
from collections import Counter, defaultdict
from typing import Any, Iterable, Iterator

import augment
from augment import Row

END = "<|endoftext|>"


def key(text: str) -> str:
    """How utterances are compared with the test's: lower case, letters and digits only, single spaces."""
    return " ".join(re.sub(r"[^\w ]", "", text.lower()).split())


class Filter:
    """Lets no utterance of the test through, and counts what it stopped."""

    def __init__(self, test: Iterable[str]) -> None:
        self.held = {key(t) for t in test}
        self.stopped: dict[str, Counter[str]] = defaultdict(Counter)

    def ok(self, source: str, text: str) -> bool:
        k = key(text)
        if k in self.held:
            self.stopped[source][k] += 1
            return False
        return True


class Writer:
    """One source's file. Rows pass the filter on their way."""

    def __init__(self, folder: str, name: str, keep: Filter) -> None:
        self.name, self.keep, self.rows = name, keep, 0
        self._file = open(os.path.join(folder, f"{name}.jsonl"), "w", encoding="utf-8")

    def example(self, r: Row) -> None:
        if self.keep.ok(self.name, r.prompt):
            self._write({"prompt": f"<|{r.task}|>{r.prompt}<|reply|>", "completion": r.completion + END})

    def text(self, t: str) -> None:
        if self.keep.ok(self.name, t):
            self._write({"text": t + END})

    def _write(self, o: dict[str, str]) -> None:
        self._file.write(json.dumps(o, ensure_ascii=False) + "\n")
        self.rows += 1

    def close(self) -> None:
        self._file.close()


def read_rows(path: str) -> Iterator[Row]:
    """Rows of the corpus."""
    with gzip.open(path, "rt", encoding="utf-8") as f:
        for line in f:
            yield Row(*json.loads(line)[:3])


def column(path: str, name: str) -> list[str]:
    with open(path, newline="", encoding="utf-8") as f:
        return [r[name] for r in csv.DictReader(f) if r.get(name)]


def lines(path: str) -> list[str]:
    with open(path, encoding="utf-8") as f:
        return [x.strip() for x in f if x.strip()]


def home(rows: list[Row], w: Writer, devices: list[str], names: augment.Names, r: random.Random) -> None:
    for row in rows:
        w.example(row)
        changed = augment.exchange_names(row, devices, names, r) if r.random() < 0.7 else row
        w.example(augment.spoken(changed, r))


def assist(rows: list[Row], w: Writer, names: augment.Names, r: random.Random) -> None:
    values: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for k, v in augment.slots(row):
            values[k].append(v)
    for row in rows:
        w.example(row)
        w.example(augment.spoken(augment.lower(row), r))
        for _ in range(2):
            changed = augment.exchange_slots(row, values, names, r)
            if changed is not None:
                w.example(augment.lower(changed) if r.random() < 0.3 else changed)


# HWU64's labels whose utterances none of CLINC150's 150 intents takes.
OUT_OF_SCOPE = ("news_query qa_stock qa_factoid social_post social_query email_query email_sendemail email_querycontact email_addcontact play_podcasts "
                "play_audiobook play_game recommendation_events recommendation_movies general_quirky").split()
# And SNIPS' intents.
SNIPS_OUT_OF_SCOPE = ("RateBook", "SearchCreativeWork", "SearchScreeningEvent")


def topics(rows: list[Row], others: list[str], w: Writer, oos: Writer, synonyms: augment.Words, r: random.Random, times: int = 16) -> None:
    for row in rows:
        known = json.loads(row.completion)["intent"] != "oos"
        out = w if known else oos
        out.example(row)
        for _ in range(times):
            out.example(augment.reworded(row, synonyms, r))
        if not known:
            for _ in range(40):
                out.example(augment.other_nouns(row, synonyms, r))
    for t in others:
        row = Row("topics", t, '{"intent":"oos"}')
        oos.example(row)
        oos.example(augment.reworded(row, synonyms, r))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("corpus")
    p.add_argument("out")
    p.add_argument("--wordnet", default="/usr/share/wordnet", help="Princeton's WordNet 3.0 (Debian: wordnet-base)")
    p.add_argument("--share-alike", action="store_true", help="also texts under CC BY-SA: WikiSplit and the turns of DSTC8")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    r = random.Random(a.seed)
    more = os.path.join(a.corpus, "more")
    os.makedirs(a.out, exist_ok=True)
    with open(os.path.join(a.corpus, "assistant-test-dev.jsonl"), encoding="utf-8") as f:
        keep = Filter(json.loads(x)["prompt"] for x in f)
    everything = list(read_rows(os.path.join(a.corpus, "assistant-train.jsonl.gz")))
    by_task = {t: [x for x in everything if x.task == t] for t in ("home", "assist", "topics")}
    piles = os.path.join(more, "home-llm-piles")
    labelled = list(zip(lines(os.path.join(more, "hwu64", "train.label")), lines(os.path.join(more, "hwu64", "train.seq.in"))))
    words = augment.Words(a.wordnet)

    writers: list[Writer] = []

    def open_writer(name: str) -> Writer:
        writers.append(Writer(a.out, name, keep))
        return writers[-1]

    known = lines(os.path.join(piles, "pile_of_media_names.txt")) + [v for x in by_task["assist"] for k, v in augment.slots(x) if k in augment.OPEN_SLOTS]
    names = augment.Names(known)

    home(by_task["home"], open_writer("home"), [d.lower() for d in column(os.path.join(piles, "pile_of_device_names.csv"), "description")], names, r)
    assist(by_task["assist"], open_writer("assist"), names, r)
    snips = [x.prompt.lower() for x in by_task["assist"] if json.loads(x.completion)["intent"] in SNIPS_OUT_OF_SCOPE]
    others = [t for label, t in labelled if label in OUT_OF_SCOPE] + r.sample(snips, 600)
    topics(by_task["topics"], others, open_writer("topics"), open_writer("oos"), words, r)

    general = open_writer("general")
    for t in words.texts():
        general.text(t)
    for _, t in labelled:
        general.text(t)
    for name, col in (("responses", "response_confirmed"), ("responses", "response_starting"), ("status_requests", "phrase"), ("specific_actions", "phrase"), ("refusals", "response")):
        for t in column(os.path.join(piles, f"pile_of_{name}.csv"), col):
            general.text(t)
    if a.share_alike:
        share = open_writer("share-alike")
        for t in _share_alike(more):
            share.text(t)
    for w in writers:
        w.close()
    counts: dict[str, Any] = {
        "rows": {w.name: w.rows for w in writers},
        "test_utterances": len(keep.held),
        "left_out": {s: {"rows": sum(c.values()), "utterances": len(c)} for s, c in keep.stopped.items()},
    }
    # What of the corpus' own rows were test utterances, before any change was made to them.
    own: dict[str, set[str]] = defaultdict(set)
    for row in everything:
        k = key(row.prompt)
        if k in keep.held:
            own[row.task].add(k)
    counts["test_utterances_in_the_corpus"] = {t: len(s) for t, s in own.items()}
    with open(os.path.join(a.out, "counts.json"), "w") as f:
        json.dump(counts, f, indent=1)
    print(json.dumps(counts))


def _share_alike(more: str) -> Iterator[str]:
    for part in ("validation", "test", "tune"):
        with gzip.open(os.path.join(more, f"wikisplit_{part}.tsv.gz"), "rt", encoding="utf-8") as f:
            for line in f:
                yield augment.untokenized(line.split("\t")[0])
    turns: list[str] = []
    with gzip.open(os.path.join(more, "sgd-train-turns.txt.gz"), "rt", encoding="utf-8") as f:
        for line in f:
            turns.append(line.strip().partition(": ")[2] or line.strip())
            if len(turns) == 4:
                yield "\n".join(turns)
                turns = []


if __name__ == "__main__":
    main()
