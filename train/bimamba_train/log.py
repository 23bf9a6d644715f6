"""What a run says: a progress bar, a CSV file, a plot of the loss (SVG), TensorBoard where it is installed, and the card's energy."""
from __future__ import annotations

import csv
import ctypes
import os
import sys
import threading
import time
from typing import Any, TextIO

FIELDS = ("step", "tokens", "seconds", "loss", "lr", "grad_norm", "tokens_per_s", "watts")


class Log:
    """Lines of FIELDS. Going on from step n drops what an earlier try wrote behind it."""

    def __init__(self, folder: str, steps: int, resume_at: int = 0, tensorboard: bool = False, quiet: bool = False) -> None:
        os.makedirs(folder, exist_ok=True)
        self.path, self.steps, self.quiet = os.path.join(folder, "log.csv"), steps, quiet
        kept = [r for r in read(self.path) if int(r["step"]) <= resume_at] if resume_at and os.path.exists(self.path) else []
        self._file = open(self.path, "w", newline="")
        self._csv = csv.DictWriter(self._file, FIELDS)
        self._csv.writeheader()
        self._csv.writerows(kept)
        self._board = _tensorboard(folder) if tensorboard else None

    def line(self, **values: Any) -> None:
        self._csv.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in values.items()})
        self._file.flush()
        if self._board is not None:
            for k in ("loss", "lr", "grad_norm", "tokens_per_s"):
                self._board.add_scalar(k, values[k], values["step"])

    def progress(self, fraction: float, text: str, out: TextIO = sys.stderr) -> None:
        if self.quiet:
            return
        bar = "#" * int(30 * fraction)
        end = "\r" if out.isatty() else "\n"
        out.write(f"[{bar:<30}] {100 * fraction:3.0f} % {text}{end}")
        out.flush()

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()
        rows = read(self.path)
        if len(rows) > 1:
            plot({os.path.basename(os.path.dirname(self.path)) or "loss": rows}, self.path[: -len(".csv")] + ".svg")


def _tensorboard(folder: str) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise RuntimeError("train.tensorboard needs the package tensorboard") from None
    return SummaryWriter(folder)


def read(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


COLOURS = ("#1b6ca8", "#c44536", "#2a9d55", "#8e5ea2", "#b8860b")


def plot(runs: dict[str, list[dict[str, str]]], path: str, width: int = 720, height: int = 360) -> None:
    """Loss over tokens of each run, as SVG."""
    left, right, top, bottom = 60, 12, 12, 42
    points = {n: [(float(r["tokens"]), float(r["loss"])) for r in rows] for n, rows in runs.items()}
    every = [p for ps in points.values() for p in ps]
    x1 = max(x for x, _ in every)
    y0, y1 = min(y for _, y in every), max(y for _, y in every)
    y1 = max(y1, y0 + 1e-9)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + (width - left - right) * x / x1, top + (height - top - bottom) * (y1 - y) / (y1 - y0)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">']
    for i in range(5):
        y = y0 + (y1 - y0) * i / 4
        _, py = at(0, y)
        out.append(f'<path d="M{left} {py:.1f}H{width - right}" stroke="#ddd"/><text x="{left - 6}" y="{py + 4:.1f}" text-anchor="end">{y:.3g}</text>')
        px, _ = at(x1 * i / 4, y0)
        out.append(f'<text x="{px:.1f}" y="{height - 24}" text-anchor="middle">{x1 * i / 4 / 1e6:.3g}</text>')
    out.append(f'<text x="{(left + width) / 2}" y="{height - 6}" text-anchor="middle">million tokens</text>')
    for i, (name, ps) in enumerate(points.items()):
        colour = COLOURS[i % len(COLOURS)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*p) for p in ps))
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        label = name.replace("&", "&amp;").replace("<", "&lt;")
        out.append(f'<text x="{width - right - 6}" y="{top + 16 + 16 * i}" text-anchor="end" fill="{colour}">{label}</text>')
    out.append("</svg>\n")
    with open(path, "w") as f:
        f.write("\n".join(out))


class Energy:
    """Joules of one NVIDIA card by its own reading (NVML): its energy counter where it has one, and power sampled five times a second."""

    def __init__(self, index: int = 0, library: str = "libnvidia-ml.so.1") -> None:
        self.joules, self.watts, self.counted = 0.0, 0.0, False
        self._stop = threading.Event()
        self._card = ctypes.c_void_p()
        try:
            self._nvml: Any = ctypes.CDLL(library)
            ok = self._nvml.nvmlInit_v2() == 0 and self._nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(self._card)) == 0
        except (OSError, AttributeError):
            ok = False
        self.available = ok
        if not ok:
            return
        self._start = self._counter()
        self.counted = self._start is not None
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _counter(self) -> int | None:
        """Millijoules since the driver was loaded."""
        mj = ctypes.c_ulonglong()
        return mj.value if self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._card, ctypes.byref(mj)) == 0 else None

    def _sample(self) -> None:
        mw, last = ctypes.c_uint(), time.monotonic()
        while not self._stop.wait(0.2):
            if self._nvml.nvmlDeviceGetPowerUsage(self._card, ctypes.byref(mw)) != 0:
                continue
            now = time.monotonic()
            self.watts = mw.value / 1000
            self.joules += self.watts * (now - last)
            last = now

    def report(self) -> dict[str, Any] | None:
        """Ends the measurement. Joules by the counter, and by the samples to hold against them."""
        if not self.available:
            return None
        self._stop.set()
        self._thread.join()
        end = self._counter() if self.counted else None
        counter = (end - self._start) / 1000 if end is not None and self._start is not None else None
        return {"joules": counter if counter is not None else self.joules, "by": "energy counter" if counter is not None else "power samples", "joules_sampled": self.joules}
