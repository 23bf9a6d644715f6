"""The rows that the default model is trained on."""
from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import unittest

from . import common

sys.path.insert(0, os.path.join(common.ROOT, "train", "assistant"))
import augment  # noqa: E402
import prepare  # noqa: E402
from augment import Row  # noqa: E402


class Leaks(unittest.TestCase):
    def test_no_test_utterance_passes(self) -> None:
        keep = prepare.Filter(["Turn on the lights, please!", "what's 2 + 2"])
        with tempfile.TemporaryDirectory() as d:
            w = prepare.Writer(d, "home", keep)
            for t in ("turn on the lights please", "TURN  ON the lights - please", "whats 2  2", "turn on the light"):
                w.example(Row("home", t, "{}"))
            w.text("turn on the lights please")
            w.close()
            with open(os.path.join(d, "home.jsonl")) as f:
                rows = [json.loads(x) for x in f]
        self.assertEqual(rows, [{"prompt": "<|home|>turn on the light<|reply|>", "completion": "{}<|endoftext|>"}])
        self.assertEqual((sum(keep.stopped["home"].values()), len(keep.stopped["home"])), (4, 2))


class Changes(unittest.TestCase):
    def setUp(self) -> None:
        self.r = random.Random(1)
        self.names = augment.Names(["The Prime Ministers", "Annesley Malewana", "Northern Lights"])

    def test_exchanged_values_stand_in_both(self) -> None:
        row = Row("assist", "play Reno by Steampunk", '{"intent":"PlayMusic","track":"Reno","artist":"Steampunk"}')
        seen = set()
        for _ in range(50):
            changed = augment.exchange_slots(row, {"track": ["Bruno"], "artist": ["Pat Monahan"]}, self.names, self.r)
            if changed is None:
                continue
            o = json.loads(changed.completion)
            self.assertIn(o["track"], changed.prompt)
            self.assertTrue(changed.prompt.endswith(o["artist"]))
            seen.add(changed.prompt)
        self.assertGreater(len(seen), 10)
        twice = Row("assist", "play Reno by Reno", '{"intent":"PlayMusic","track":"Reno"}')
        self.assertIsNone(augment.exchange_slots(twice, {"track": ["Bruno"]}, self.names, self.r))  # which of them it is cannot be told

    def test_names_of_devices(self) -> None:
        row = Row("home", "turn off the lamp", '{"intent":"HassTurnOff","name":"lamp"}\nTurned off lamp')
        changed = augment.exchange_names(row, ["porch light"], self.names, random.Random(3))
        name = json.loads(changed.completion.split("\n")[0])["name"]
        self.assertEqual(changed.prompt, f"turn off the {name}")
        self.assertEqual(changed.completion.split("\n")[1], f"Turned off {name}")

    def test_speech_keeps_values(self) -> None:
        row = Row("assist", "Play To The Moon for 7:30, please.", '{"intent":"PlayMusic","track":"To The Moon"}')
        for _ in range(50):
            self.assertIn("to the moon", augment.spoken(row, self.r).prompt.lower())
        low = augment.lower(row)
        self.assertEqual(low, Row("assist", "play to the moon for 7:30 please", '{"intent":"PlayMusic","track":"to the moon"}'))

    def test_untokenized(self) -> None:
        self.assertEqual(augment.untokenized("He did n't say , '' ( 1990 ) it 's ."), "He didn't say, \" (1990) it's.")


if __name__ == "__main__":
    unittest.main()
