"""Changes to training rows that keep them right: other names and values, other words, and speech as a recognizer writes it."""
from __future__ import annotations

import json
import os
import random
import re
from collections import defaultdict
from typing import Iterator, NamedTuple


class Row(NamedTuple):
    task: str
    prompt: str
    completion: str  # one line of JSON; for home a reply behind it


def action(row: Row) -> tuple[dict[str, object], str]:
    """(the JSON object, what follows its line)."""
    line, sep, rest = row.completion.partition("\n")
    return json.loads(line), sep + rest


def dumps(o: object) -> str:
    return json.dumps(o, ensure_ascii=False, separators=(",", ":"))


def slots(row: Row) -> Iterator[tuple[str, str]]:
    for k, v in action(row)[0].items():
        if k != "intent":
            for x in v if isinstance(v, list) else [v]:
                if isinstance(x, str):
                    yield k, x


def replace_word(text: str, old: str, new: str) -> str | None:
    """text with old, which stands in it once as whole words, exchanged; None if it does not."""
    found = re.findall(rf"(?<!\w){re.escape(old)}(?!\w)", text)
    if len(found) != 1:
        return None
    return re.sub(rf"(?<!\w){re.escape(old)}(?!\w)", lambda _: new, text)


def exchange_names(row: Row, devices: list[str], names: "Names", r: random.Random) -> Row:
    """Another device's name in utterance, slot and reply, now and then an unheard one."""
    o, rest = action(row)
    name = o.get("name")
    if not isinstance(name, str) or len(name) < 3:
        return row
    new = names.name(r).lower() if r.random() < 0.2 else r.choice(devices)
    prompt = replace_word(row.prompt, name, new)
    if prompt is None:
        return row
    return Row(row.task, prompt, dumps({**o, "name": new}) + (replace_word(rest, name, new) or rest))


# SNIPS' slots that hold names of works, people and places: anything can be one.
OPEN_SLOTS = {"album", "track", "object_name", "movie_name", "entity_name", "playlist", "artist", "city", "restaurant_name", "poi", "geographic_poi"}


class Names:
    """Names that nobody has heard, so that copying them is learned and not the names: words of known names mixed, and words made up of their letters."""

    def __init__(self, known: list[str]) -> None:
        self.words = sorted({w for k in known for w in k.split() if w})
        self._next: dict[str, list[str]] = defaultdict(list)
        for w in self.words:
            padded = f"^^{w}$"
            for i in range(len(padded) - 2):
                self._next[padded[i : i + 2]].append(padded[i + 2])

    def word(self, r: random.Random) -> str:
        """By the frequencies of letters behind two others."""
        out = "^^"
        while len(out) < 16:
            c = r.choice(self._next[out[-2:]])
            if c == "$":
                break
            out += c
        return out[2:]

    def name(self, r: random.Random) -> str:
        made_up = r.random() < 0.5
        return " ".join(self.word(r) if made_up and r.random() < 0.7 else r.choice(self.words) for _ in range(r.choice((1, 1, 2, 2, 2, 3, 4))))


def exchange_slots(row: Row, values: dict[str, list[str]], names: Names, r: random.Random) -> Row | None:
    """Values of slots from all rows, whatever their intent, and unheard names. None if nothing could be exchanged."""
    o, rest = action(row)
    prompt, changed = row.prompt, False
    for k, v in list(o.items()):
        if k == "intent" or not isinstance(v, str) or r.random() < 0.25:
            continue
        new = names.name(r) if k in OPEN_SLOTS and r.random() < 0.6 else r.choice(values[k])
        p = replace_word(prompt, v, new)
        # The new value must be found once too, or it could be that of another slot.
        if p is None or new == v or any(new in x or x in new for kk, x in slots(row) if kk != k) or replace_word(p, new, new) is None:
            continue
        prompt, o[k], changed = p, new, True
    return Row(row.task, prompt, dumps(o) + rest) if changed else None


def plain(text: str) -> str:
    """As a speech recognizer writes: lower case, no punctuation but within words and numbers."""
    text = re.sub(r"(?<!\w)[^\w\s%']+|[^\w\s%']+(?!\w)", " ", text.lower())
    return " ".join(text.split())


HESITATIONS = ("uh", "um", "er", "so", "well", "okay", "hey", "like")
HEARD = {  # what recognizers mistake for one another, of words that carry no slot's value
    "to": ("too", "two"), "the": ("a", "da"), "for": ("four",), "your": ("you're",), "whats": ("what's", "what is"), "what's": ("whats", "what is"), "is": ("'s",),
    "i'm": ("im", "i am"), "can": ("could",), "please": ("pleas",), "there": ("their",), "off": ("of",), "are": ("our", "r"), "a": ("the", ""), "of": ("off",),
}


def lower(row: Row) -> Row:
    """A row in plain lower case, its slots' values too."""
    o, rest = action(row)
    low = {k: v if k == "intent" else [plain(x) if isinstance(x, str) else x for x in v] if isinstance(v, list) else plain(v) if isinstance(v, str) else v for k, v in o.items()}
    return Row(row.task, plain(row.prompt), dumps(low) + rest)


def spoken(row: Row, r: random.Random) -> Row:
    """The utterance as it might be heard. Words of slots' values stay as they are."""
    text = plain(row.prompt) if r.random() < 0.5 else row.prompt
    if r.random() < 0.5:
        return Row(row.task, text, row.completion)
    kept = {w for _, v in slots(row) for w in v.lower().split()}
    out: list[str] = []
    for w in text.split(" "):
        if w.lower() not in kept and r.random() < 0.12:
            if w in HEARD:
                w = r.choice(HEARD[w])
            elif r.random() < 0.15:
                out.append(w)  # said twice
        if w:
            out.append(w)
    if r.random() < 0.15:
        out.insert(0, r.choice(HESITATIONS))
    return Row(row.task, " ".join(out), row.completion)


FRONT = ("please", "can you", "could you please", "hey", "i need to know", "tell me", "ok", "i was wondering", "quick question", "would you", "i want to know", "so", "let me know")
BACK = ("please", "thanks", "now", "for me", "right now", "if you can", "today", "?")


def reworded(row: Row, words: "Words", r: random.Random) -> Row:
    """A topic's utterance with some words left out, misspelled, exchanged for a synonym or another's place, or with a phrase around it."""
    tokens = row.prompt.split()
    out: list[str] = []
    for w in tokens:
        k = r.random()
        if k < 0.05 and len(tokens) > 3:
            continue
        if k < 0.14:
            w = words.synonym(w, r)
        elif k < 0.17 and len(w) > 3:
            w = typo(w, r)
        elif k < 0.19 and w in HEARD:
            w = r.choice(HEARD[w])
        if w:
            out.append(w)
    if len(out) > 3 and r.random() < 0.1:
        i = r.randrange(len(out) - 1)
        out[i], out[i + 1] = out[i + 1], out[i]
    k = r.random()
    if k < 0.12:
        out.insert(0, r.choice(FRONT))
    elif k < 0.2:
        out.append(r.choice(BACK))
    return Row(row.task, " ".join(out), row.completion)


def typo(w: str, r: random.Random) -> str:
    i = r.randrange(len(w) - 1)
    return r.choice((w[:i] + w[i + 1 :], w[:i] + w[i + 1] + w[i] + w[i + 2 :], w[: i + 1] + w[i] + w[i + 1 :]))


def other_nouns(row: Row, words: "Words", r: random.Random) -> Row:
    """An out-of-scope utterance about other things: what is asked of something that no intent knows stays out of scope."""
    out = [r.choice(words.common) if w in words.common_set and r.random() < 0.7 else w for w in row.prompt.split()]
    return Row(row.task, " ".join(out), row.completion)


def untokenized(t: str) -> str:
    """WikiSplit's text with its spaces before punctuation taken out."""
    t = t.replace("''", '"').replace("``", '"').replace("-LRB-", "(").replace("-RRB-", ")")
    t = re.sub(r"\s+([.,;:!?)%])", r"\1", t)
    t = re.sub(r"([(])\s+", r"\1", t)
    return re.sub(r"\s+('s|n't|'re|'ve|'ll|'d|'m)\b", r"\1", t).strip()


class Words:
    """WordNet 3.0: synonyms of single words, common nouns, and its explanations and examples as text."""

    def __init__(self, folder: str) -> None:
        self._synonyms: dict[str, list[str]] = defaultdict(list)
        self._texts: list[str] = []
        counts: dict[str, int] = defaultdict(int)
        nouns: dict[str, int] = {}
        with open(os.path.join(folder, "cntlist.rev"), encoding="utf-8") as f:
            for line in f:  # sense key, number, how often it was tagged
                k, _, n = line.split()
                counts[k.partition("%")[0]] += int(n)
        for part in ("noun", "verb", "adj", "adv"):
            with open(os.path.join(folder, f"data.{part}"), encoding="utf-8") as f:
                for line in f:
                    if line.startswith("  "):
                        continue  # the licence
                    data, _, gloss = line.partition(" | ")
                    fields = data.split()
                    n = int(fields[3], 16)
                    lemmas = [re.sub(r"\(.*\)", "", fields[4 + 2 * i]).replace("_", " ").lower() for i in range(n)]
                    self._texts.append(f"{', '.join(lemmas)}: {gloss.strip()}")
                    single = [x for x in lemmas if x.isalpha() and counts[x] >= 3]
                    if part in ("noun", "verb"):
                        for x in single:
                            self._synonyms[x] += [y for y in single if y != x]
                    if part == "noun":
                        nouns.update({x: counts[x] for x in single if len(x) > 3})
        self.common = sorted(sorted(nouns, key=lambda x: (-nouns[x], x))[:4000])
        self.common_set = set(self.common)

    def synonym(self, w: str, r: random.Random) -> str:
        """A word that shares a sense with w, or w."""
        s = self._synonyms.get(w)
        return r.choice(s) if s else w

    def texts(self) -> list[str]:
        return self._texts
