#!/usr/bin/env python3
"""An independent reader of .bimamba files, written from FORMAT.md (version 1.0) alone; i4 (1.1) was added by the format's own side.

Standard library only, plain Python floats (float64); made to check a specification, not for speed.
    read_bimamba.py check FILE     all checks of the format and all checksums
    read_bimamba.py tokens FILE    stdin: JSON strings, one a line     -> JSON lists of token ids
    read_bimamba.py decode FILE    stdin: JSON lists of ids            -> JSON strings
    read_bimamba.py logits FILE    stdin: one JSON list of ids         -> JSON list of the logits behind the last
"""
import array, bisect, hashlib, json, math, mmap, operator, re, struct, sys, unicodedata

MAGIC = bytes.fromhex("89424D420D0A1A0A")
NONE32 = 0xFFFFFFFF
SIZES = {"f32": 4, "f16": 2, "bf16": 2, "i8": 1, "u8": 1, "u32": 4}
WHITE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"

class Bad(Exception):
    """The file (or the input) is not what the format allows."""
def need(cond, what):
    if not cond:
        raise Bad(what)

# -------- MessagePack
class MsgPack:
    """A MessagePack decoder with the limits of section 2; extension values come out as None, bad UTF-8 is a ValueError."""
    def __init__(self, data):
        self.d, self.p = data, 0
    def take(self, n):
        need(n <= len(self.d) - self.p, "manifest: cut off")
        self.p += n
        return self.d[self.p - n:self.p]
    def num(self, fmt):
        return struct.unpack(">" + fmt, self.take(struct.calcsize(fmt)))[0]
    def value(self, depth=0):
        c = self.take(1)[0]
        need(depth <= 32 and c != 0xC1, "manifest: no MessagePack, or nested too deeply")
        if c < 0x80 or c >= 0xE0:
            return (c ^ 0x80) - 0x80
        if c < 0xC0:                                                         # fixmap, fixarray, fixstr
            n = c & (31 if c >= 0xA0 else 15)
        elif c < 0xC4:
            return (None, None, False, True)[c - 0xC0]
        elif c < 0xC7:                                                       # bin
            return self.take(self.num("BHI"[c - 0xC4]))
        elif c < 0xCA or 0xD4 <= c <= 0xD8:                                  # ext
            self.take(1 + (self.num("BHI"[c - 0xC7]) if c < 0xCA else 1 << (c - 0xD4)))
            return None
        elif c < 0xD4:
            return self.num("fdBHIQbhiq"[c - 0xCA])
        else:
            n = self.num("BHIHIHI"[c - 0xD9])
        if 0xA0 <= c < 0xC0 or 0xD9 <= c < 0xDC:
            return self.take(n).decode()
        return self.list(n, depth) if 0x90 <= c < 0xA0 or 0xDC <= c < 0xDE else self.map(n, depth)
    def list(self, n, depth):
        need(n <= 65536, "manifest: array of %d entries" % n)
        return [self.value(depth + 1) for _ in range(n)]
    def map(self, n, depth):
        need(n <= 64, "manifest: map of %d entries" % n)
        out = {}
        for _ in range(n):
            k = self.value(depth + 1)
            need(isinstance(k, str) and k not in out, "manifest: key %r is no string, or stands twice" % (k,))
            out[k] = self.value(depth + 1)
        return out

def up64(n):
    return n + 63 & -64
def groups(cols):
    return (cols + 31) // 32
def get(m, key, kind):
    """m[key] of a kind (int, float, str, bool, bytes, list, dict); absent: zero or empty."""
    if key not in m:
        return kind()
    v = float(m[key]) if kind is float and type(m[key]) is int else m[key]
    need(type(v) is kind, "manifest: %r is not of type %s" % (key, kind.__name__))
    return v

# -------- the file
class Tensor:
    """An entry of `tensors`; `where` names it in messages."""
    def __init__(self, buf, section, m):
        need(type(m) is dict, "manifest: a tensor is not a map")
        self.buf, self.name = buf, get(m, "name", str)
        self.where = section + "/" + self.name
        self.dtype, self.layout, self.quant = (get(m, k, str) for k in ("dtype", "layout", "quant"))
        self.shape, self.sha = get(m, "shape", list), get(m, "sha256", bytes)
        self.offset, self.length = get(m, "offset", int), get(m, "length", int)
        need(1 <= len(self.shape) <= 4 and all(type(n) is int and n >= 1 for n in self.shape), self.where + ": bad shape")
        self.count = math.prod(self.shape)
        need(self.count < 1 << 60, self.where + ": shape overflows")
    def known(self):
        """Refuses a dtype or layout that this reader does not know, and a wrong length."""
        m = re.fullmatch("bits-64x8-kb([1-9][0-9]{0,8})", self.layout) if self.dtype == "b1" else None
        need(self.dtype in SIZES or self.dtype in ("b1", "i4"), "%s: unknown dtype %r" % (self.where, self.dtype))
        self.kb = int(m.group(1)) if m else 0
        need((m and self.kb % 64 == 0) if self.dtype == "b1" else self.layout == ("i4-g32" if self.dtype == "i4" else ""),
             "%s: unknown layout %r for dtype %s" % (self.where, self.layout, self.dtype))
        need(self.dtype in SIZES or len(self.shape) == 2, self.where + ": a matrix must have two dimensions")
        need((self.quant == "group") == (self.dtype == "i4"), "%s: quant %r with dtype %s" % (self.where, self.quant, self.dtype))
        want = (up64(self.shape[0]) * up64(self.shape[1]) // 8 if m else
                self.shape[0] * groups(self.shape[1]) * 16 if self.dtype == "i4" else self.count * SIZES[self.dtype])
        need(self.length == want, "%s: length %d, must be %d" % (self.where, self.length, want))
    def bytes(self):
        return self.buf[self.offset:self.offset + self.length]
    def values(self):
        """All elements, row-major, as a sequence of numbers (not for b1 and i4)."""
        raw = self.bytes()
        if self.dtype in ("u8", "f16"):
            return raw if self.dtype == "u8" else struct.unpack("<%de" % self.count, raw)
        if self.dtype == "bf16":
            raw = b"".join(b"\0\0" + raw[i:i + 2] for i in range(0, len(raw), 2))
        a = array.array({"f32": "f", "bf16": "f", "i8": "b", "u32": "I"}[self.dtype], raw)
        if sys.byteorder == "big":
            a.byteswap()
        return a

class File:
    def __init__(self, path):
        with open(path, "rb") as f:
            head = f.read(64)
            need(len(head) == 64 and head[:8] == MAGIC, "not a .bimamba file (magic)")
            major, self.minor, mlen, size = struct.unpack("<HHIQ", head[8:24])
            need(major == 1, "major version %d, this reader knows 1" % major)
            self.buf = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        need(size == len(self.buf), "file length %d, preamble says %d" % (len(self.buf), size))
        need(head[24:32] == bytes(8), "reserved field is not zero")
        need(mlen <= 16 << 20 and 64 + mlen <= size, "manifest length %d" % mlen)
        raw = self.buf[64:64 + mlen]
        need(hashlib.sha256(raw).digest() == head[32:], "the manifest does not match its SHA-256")
        unpacker = MsgPack(raw)
        self.man = unpacker.value()
        need(type(self.man) is dict and unpacker.p == mlen, "the manifest is not one map")
        self.read_model()
        self.read_sections(64 + mlen)
        tok = self.man.get("tokenizer")
        need(tok is None or type(tok) is dict, "manifest: tokenizer is not a map")
        need((tok is None) == ("tokenizer" not in self.sections), "tokenizer map and section: one without the other")
    def read_model(self):
        m = get(self.man, "model", dict)
        keys = "d_model n_layer d_inner headdim nheads d_state ngroups d_conv vocab_size gated_norm_groups"
        for k in keys.split():
            setattr(self, k, get(m, k, int))
            need(1 <= getattr(self, k) < 1 << 32, "model: %s is not at least 1" % k)
        need(self.n_layer <= 4096, "model: more layers than sections")
        self.norm_eps, self.dt_min, self.dt_max = (get(m, k, float) for k in ("norm_eps", "dt_min", "dt_max"))
        self.tied = get(m, "tie_embeddings", bool)
        need(self.d_inner == self.nheads * self.headdim and self.nheads % self.ngroups == 0
             and self.d_inner % self.gated_norm_groups == 0, "model: heads or groups do not fit")
    def read_sections(self, end):
        self.sections, self.parts = {}, [(0, end)]
        mine = {"tokenizer", "io"} | {"layers.%d" % i for i in range(self.n_layer)}
        secs = get(self.man, "sections", list)
        need(len(secs) <= 4096 and all(type(s) is dict for s in secs), "too many sections, or one is not a map")
        for s in secs:
            name, off, length, tensors = map(get, [s] * 4, ("name", "offset", "length", "tensors"), (str, int, int, list))
            need(name not in self.sections and len(tensors) <= 64, "section %r: twice, or too many tensors" % name)
            need(off % 65536 == 0, "section %r: offset is not a multiple of 65536" % name)
            need(end <= off <= off + length <= len(self.buf), "section %r: overlaps, or beyond the end of the file" % name)
            end, pos, table = off + length, off, {}
            for t in (Tensor(self.buf, name, m) for m in tensors):
                need(t.name not in table, t.where + ": twice")
                need(t.offset % 64 == 0, t.where + ": offset is not a multiple of 64")
                need(pos <= t.offset <= t.offset + t.length <= end, t.where + ": overlaps, or lies outside its section")
                if name in mine:                       # sections that are ignored may hold unknown dtypes
                    t.known()
                pos, table[t.name] = t.offset + t.length, t
                self.parts.append((t.offset, pos))
            self.sections[name] = table
        need(end == len(self.buf), "the file does not end with its last section")
    def tensor(self, sec, name, shape, dtypes=("f32",), optional=False):
        t = self.sections.get(sec, {}).get(name)
        need(t or optional, "%s/%s is missing" % (sec, name))
        if t:
            fits = len(shape) == len(t.shape) and all(a in (b, None) for a, b in zip(shape, t.shape))
            need(fits and t.dtype in dtypes, "%s: %s %s, must be %s %s" % (t.where, t.dtype, t.shape, dtypes, shape))
        return t
    def vector(self, sec, name, n, optional=False):
        t = self.tensor(sec, name, [n], optional=optional)
        return list(t.values()) if t else None
    def check(self):
        """Everything not checked on opening: checksums, zero bytes, all tensors of the model, the tokenizer."""
        tensors = [t for table in self.sections.values() for t in table.values()]
        for t in tensors:
            need(hashlib.sha256(t.bytes()).digest() == t.sha, t.where + ": does not match its SHA-256")
        for (_, a), (b, _) in zip(self.parts, self.parts[1:] + [(len(self.buf), 0)]):
            need(not any(self.buf[a:b]), "bytes %d to %d belong to nothing and are not zero" % (a, b))
        Model(self)
        if self.man.get("tokenizer") is not None:
            Tokenizer(self)
        return len(tensors)

# -------- matrices (sections 3 and 4)
class Matrix:
    def __init__(self, f, sec, name, rows, cols):
        t = self.t = f.tensor(sec, name + ".weight", [rows, cols], ("f32", "f16", "bf16", "i8", "b1", "i4"))
        ok = {"i8": ("row",), "b1": ("column", "row", "single"), "i4": ("group",)}.get(t.dtype, ("",))
        need(t.quant in ok, "%s: quant %r with dtype %s" % (t.where, t.quant, t.dtype))
        self.rows, self.cols, self.column = rows, cols, t.quant == "column"
        self.w = None if t.dtype == "b1" else self.fours(f, sec, name) if t.dtype == "i4" else t.values()
        n = {"": 0, "group": 0, "row": rows, "column": cols, "single": 1}[t.quant]
        self.scale = f.vector(sec, name + ".scale", n) if n else None
        self.bias = f.vector(sec, name + ".bias", n) if t.dtype == "b1" else None
        self.out_bias = f.vector(sec, name + ".out_bias", rows, True)
    def fours(self, f, sec, name):
        """W~ of an i4 matrix, row-major: 11 bits of scale times 4 bits are exact in float32."""
        c, g = self.cols, groups(self.cols)
        scale, raw = f.tensor(sec, name + ".scale", [self.rows, g], ("f16",)).values(), self.t.bytes()
        return array.array("f", [scale[o * g + i // 32] * ((raw[o * g * 16 + i // 2] >> i % 2 * 4 & 15) - 8)
                                 for o in range(self.rows) for i in range(c)])
    def row(self, o):
        """Row o of W~; an i8 element is rounded to float32. A b1 element is found by the formula of section 3."""
        c, kb, out = self.cols, self.t.kb, []
        if self.t.dtype != "b1":
            w = self.w[o * c:(o + 1) * c]
            return w if self.scale is None else array.array("f", [self.scale[o] * x for x in w])
        for i in range(c):
            cb, k = i // kb * kb, {"column": i, "row": o, "single": 0}[self.t.quant]
            at = cb * up64(self.rows) // 8 + o // 64 * min(kb, up64(c) - cb) * 8 + (i - cb) // 8 * 64 + o % 64
            out.append(self.scale[k] * (1 if self.t.buf[self.t.offset + at] >> i % 8 & 1 else -1) + self.bias[k])
        return out
    def mul(self, u):
        """W~ u."""
        if self.t.dtype == "b1":
            if self.column:
                add = sum(map(operator.mul, u, self.bias))
                y = [v + add for v in self.signs(scaled(u, self.scale))]
            else:                                            # row, or single: one value for all rows
                k, total = len(self.scale), sum(u)
                y = [self.scale[o % k] * v + self.bias[o % k] * total for o, v in enumerate(self.signs(u))]
        else:
            c = self.cols
            y = scaled([sum(map(operator.mul, self.w[o * c:o * c + c], u)) for o in range(self.rows)], self.scale)
        return y if self.out_bias is None else list(map(operator.add, y, self.out_bias))
    def signs(self, u):
        """The sums of +-u of every row, a group of 8 columns at a time through a table of its 256 sums."""
        rows, cols = up64(self.rows), up64(self.cols)
        u = u + [0.0] * (cols - self.cols)
        data, at, y, tables = self.t.bytes(), 0, [0.0] * rows, []
        for p in range(0, cols, 8):
            t = [-sum(u[p:p + 8])]
            for x in u[p:p + 8]:                     # the bit of x is above those that the table has so far
                t += [v + 2 * x for v in t]
            tables.append(t.__getitem__)
        for cb in range(0, cols, self.t.kb):
            for r in range(0, rows, 64):
                acc = y[r:r + 64]
                for look in tables[cb // 8:(cb + self.t.kb) // 8]:
                    acc = list(map(operator.add, acc, map(look, data[at:at + 64])))
                    at += 64
                y[r:r + 64] = acc
        return y[:self.rows]

# -------- the model (section 5)
def silu(v):
    return v / (1 + math.exp(-v)) if v > -700 else 0.0
def softplus(v):
    return max(v, 0.0) + math.log1p(math.exp(-abs(v)))
def scaled(v, w):
    return v if w is None else list(map(operator.mul, v, w))

class Layer:
    def __init__(self, f, n):
        self.f, sec, d = f, "layers.%d" % n, f.d_inner
        ch = self.channels = d + 2 * f.ngroups * f.d_state
        self.inp = Matrix(f, sec, "in_proj", d + ch + f.nheads, f.d_model)
        self.norm = None if self.inp.column else f.vector(sec, "norm.weight", f.d_model)
        w = f.tensor(sec, "conv.weight", [f.d_conv, ch]).values()
        self.conv = [list(w[k * ch:k * ch + ch]) for k in range(f.d_conv)]
        self.conv_bias = f.vector(sec, "conv.bias", ch, True) or [0.0] * ch
        self.dt_bias, self.a, self.d = (f.vector(sec, k, f.nheads) for k in ("dt_bias", "A_log", "D"))
        self.out = Matrix(f, sec, "out_proj", f.d_model, d)
        self.out_norm = None if self.out.column else f.vector(sec, "mixer_norm.weight", d)
        self.past = [[0.0] * ch for _ in range(f.d_conv)]            # oldest first
        self.state = [[0.0] * f.d_state for _ in range(d)]           # one list for each channel of x
    def step(self, h, norm):
        f, d, ns = self.f, self.f.d_inner, self.f.d_state
        y = self.inp.mul(scaled(norm(h), self.norm))
        z, xbc, dts = y[:d], y[d:d + self.channels], y[d + self.channels:]
        self.past = self.past[1:] + [xbc]
        acc = self.conv_bias
        for w, v in zip(self.conv, self.past):
            acc = [a + b * c for a, b, c in zip(acc, w, v)]
        xbc, v = [silu(a) for a in acc], []                          # v: y times silu(z)
        for j in range(f.nheads):
            g = d + j * f.ngroups // f.nheads * ns
            b, c = xbc[g:g + ns], xbc[g + f.ngroups * ns:g + f.ngroups * ns + ns]
            dt = min(max(softplus(dts[j] + self.dt_bias[j]), f.dt_min), f.dt_max)
            decay = math.exp(-dt * math.exp(self.a[j]))
            for i in range(j * f.headdim, (j + 1) * f.headdim):
                k = dt * xbc[i]
                s = self.state[i] = [decay * p + k * q for p, q in zip(self.state[i], b)]
                v.append((sum(map(operator.mul, s, c)) + self.d[j] * xbc[i]) * silu(z[i]))
        n = d // f.gated_norm_groups
        v = [x for i in range(0, d, n) for x in norm(v[i:i + n])]
        return list(map(operator.add, h, self.out.mul(scaled(v, self.out_norm))))

class Model:
    def __init__(self, f):
        self.f = f
        self.embedding = Matrix(f, "io", "embedding", f.vocab_size, f.d_model)
        self.head = self.embedding if f.tied else Matrix(f, "io", "lm_head", f.vocab_size, f.d_model)
        self.norm_f = f.vector("io", "norm_f.weight", f.d_model)
        self.layers = [Layer(f, n) for n in range(f.n_layer)]
    def norm(self, v):
        k = 1 / math.sqrt(sum(x * x for x in v) / len(v) + self.f.norm_eps)
        return [x * k for x in v]
    def feed(self, ids):
        """The logits behind the last of ids; may be called again to go on."""
        need(ids and all(type(t) is int and 0 <= t < self.f.vocab_size for t in ids), "ids out of range, or none")
        for t in ids:
            h = self.embedding.row(t)
            for layer in self.layers:
                h = layer.step(h, self.norm)
        return self.head.mul(scaled(self.norm(h), self.norm_f))

# -------- the tokenizer (section 6)
def category(c):
    """'s' white space, 'L', 'N', 'M', or 'o'; a byte that is not UTF-8 (a lone surrogate here) is 'o'."""
    k = unicodedata.category(c)[0]
    return "s" if c in WHITE else k if k in "LNM" else "o"
def split_gpt2(text):
    kinds = ["o" if k == "M" else k for k in map(category, text)]
    at, n = 0, len(text)
    while at < n:
        end = next((at + len(s) for s in ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d") if text.startswith(s, at)), 0)
        if not end:
            i = at + (text[at] == " " and at + 1 < n and kinds[at + 1] != "s")
            end = i
            while end < n and kinds[end] == kinds[i]:
                end += 1
            if kinds[i] == "s" and end < n and end - at > 1:
                end -= 1                                     # \s+(?!\S) leaves the last one to what follows
        yield text[at:end]
        at = end
def joins(c):
    """Whether c is of the class \\w of UTS #18, annex C; Other_Alphabetic is marks and the circled or squared letters."""
    k, n = (unicodedata.category(c), ord(c)) if c else ("", 0)
    return k[:1] in ("L", "M") or k in ("Nd", "Nl", "Pc") or n in (0x200C, 0x200D) or (
        0x24B6 <= n <= 0x24E9 or 0x1F130 <= n <= 0x1F149 or 0x1F150 <= n <= 0x1F169 or 0x1F170 <= n <= 0x1F189)

class Tokenizer:
    def __init__(self, f):
        m = f.man.get("tokenizer")
        need(m is not None, "this model has no tokenizer")
        flags = "prefix_unless trim_spaces byte_level byte_fallback ignore_merges fuse_unknown strip_prefix"
        for keys, kind in (("size symbols unknown_id", int), ("normalizer split prefix", str), (flags, bool)):
            for k in keys.split():
                setattr(self, k, get(m, k, kind))
        n = self.symbols
        need(0 < self.size <= min(f.vocab_size, n) and -1 <= self.unknown_id < self.size, "tokenizer: bad size or id")
        for k, known in (("normalizer", " nfc"), ("split", " gpt2 space"), ("prefix", " text normalized first always")):
            need(getattr(self, k) in known.split(" "), "tokenizer: unknown %s %r" % (k, getattr(self, k)))
        def table(name, shape, dtype="u32", optional=True):
            t = f.tensor("tokenizer", name, shape, (dtype,), optional)
            return b"" if t is None else t.values()
        self.bytes = table("bytes", [256], optional=not (self.byte_level or self.byte_fallback))
        offsets, arena = table("offsets", [n + 1], optional=False), table("arena", [None], "u8")
        types, start = table("types", [n], "u8", False), table("merge_start", [n + 1]) or [0] * (n + 1)
        merges, order, added = table("merges", [None, 3]), table("sorted", [None]), table("added", [None, 2])
        for a, last, what in ((offsets, len(arena), "offsets"), (start, len(merges) // 3, "merge_start")):
            need(a[0] == 0 and a[-1] == last and all(map(operator.le, a, a[1:])), "tokenizer: bad " + what)
        for t, limit, what in ((merges[0::3], n, "merges"), (merges[2::3], n, "merges"), (order, n, "sorted"),
                               ([s for s in self.bytes if s != NONE32], self.size, "bytes"),
                               (added[0::2], self.size, "added")):
            need(all(s < limit for s in t), "tokenizer: symbol out of range in " + what)
        need(all((k == 6) == (s >= self.size) for s, k in enumerate(types)), "tokenizer: types of internal symbols")
        self.types = types
        self.text = [bytes(arena[offsets[s]:offsets[s + 1]]) for s in range(n)]
        need(all(self.text[s] for s in added[0::2]), "tokenizer: an added token without text")
        self.order, self.keys = order, [self.text[s] for s in order]
        need(all(map(operator.le, self.keys, self.keys[1:])), "tokenizer: sorted is not ascending")
        self.merges = {}                                     # (left, right): (rank, result)
        for s in range(n):
            for i in range(start[s], start[s + 1]):
                need(i == start[s] or merges[3 * i - 3] < merges[3 * i], "tokenizer: merges are not ascending")
                self.merges[s, merges[3 * i]] = tuple(merges[3 * i + 1:3 * i + 3])
        # texts are str in which a byte that is not UTF-8 is a lone surrogate (Python's surrogateescape)
        self.added = [(self.text[s].decode("utf-8", "surrogateescape"), s, k) for s, k in zip(added[0::2], added[1::2])]
    def lookup(self, raw):
        i = bisect.bisect_left(self.keys, raw)
        return self.order[i] if i < len(self.keys) and self.keys[i] == raw else NONE32
    def cut(self, text, tokens):
        """Steps 4 and 5: the stretches (str) and token ids (int) of a text, in order."""
        out, done, at = [], 0, 0
        while at < len(text):
            for s, token, flags in tokens:
                if text.startswith(s, at):
                    left, right = text[done:at], text[at + len(s):]
                    at += len(s)
                    if not (flags & 8 and (joins(text[:at - len(s)][-1:]) or joins(right[:1]))):
                        out += [left.rstrip(WHITE) if flags & 2 else left, token]
                        done = at = len(text) - len(right.lstrip(WHITE) if flags & 4 else right)
                    break
            else:
                at += 1
        return [x for x in out + [text[done:]] if x != ""]
    def encode(self, text):
        text = text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
        if not self.byte_level:
            text = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
        if self.trim_spaces:
            text = re.sub(" +", " ", text.lstrip(" ").rstrip(" \u2581"))
        text = self.spaced(text) if text and self.prefix == "text" else text
        first, second = ([a for a in self.added if a[2] & 16 == k] for k in (0, 16))
        parts, ids = [], []
        for p in self.cut(text, first):
            if type(p) is int:
                parts.append(p)
                continue
            p = p if self.byte_level else p.replace("\u2581", " ")
            p = unicodedata.normalize("NFC", p) if self.normalizer else p
            parts += self.cut(self.spaced(p) if self.prefix == "normalized" else p, second)
        for i, p in enumerate(parts):
            if type(p) is int:
                ids.append(p)
                continue
            p = self.spaced(p) if self.prefix == "always" or self.prefix == "first" and i == 0 else p
            for word in self.words(p):
                ids += self.encode_word(word)
        return ids
    def spaced(self, text):
        return text if self.prefix_unless and text.startswith(" ") else " " + text
    def words(self, text):
        if self.split == "gpt2":
            return list(split_gpt2(text))
        cuts = [0] + [i for i in range(1, len(text)) if self.split and text[i] == " "] + [len(text)]
        return [text[a:b] for a, b in zip(cuts, cuts[1:])]
    def encode_word(self, word):
        raw = word.encode("utf-8", "surrogateescape")
        if self.ignore_merges and self.lookup(raw) < self.size:
            return [self.lookup(raw)]
        items = [(self.bytes[b], bytes([b])) for b in raw] if self.byte_level else [
            (self.lookup(c.encode()), c.encode()) for c in word]
        if self.unknown_id < 0 and not self.byte_fallback:
            items = [x for x in items if x[0] != NONE32]
        while True:
            pairs = [(self.merges.get((a[0], b[0])), i) for i, (a, b) in enumerate(zip(items, items[1:]))]
            if not any(m for m, _ in pairs):
                break
            _, i, s = min((m[0], i, m[1]) for m, i in pairs if m)        # the lowest rank, then the leftmost
            items[i:i + 2] = [(s, items[i][1] + items[i + 1][1])]
        ids, was = [], False                                 # was: the one before was unknown
        for s, raw in items:
            out = [s] if s < self.size else [self.bytes[b] for b in raw] if self.byte_fallback else [NONE32]
            skip, was = self.unknown_id < 0 or was and self.fuse_unknown, NONE32 in out
            ids += out if not was else [] if skip else [self.unknown_id]
        return ids
    def decode(self, ids):
        need(all(type(t) is int and 0 <= t < self.size for t in ids), "ids out of range")
        raw, first = b"", self.strip_prefix                  # first: at the beginning of the text
        for t in ids:
            piece = self.text[t]
            if first and piece:
                cut = piece[:1] == b" " and self.types[t] not in (1, 4)
                first, piece = cut and self.trim_spaces and piece == b" ", piece[cut:]
            raw += piece
        return raw.decode("utf-8", "replace") if not self.byte_fallback else "".join(
            "\ufffd" if "\udc80" <= c <= "\udcff" else c for c in raw.decode("utf-8", "surrogateescape"))

def main(argv):
    need(len(argv) == 3 and argv[1] in ("check", "tokens", "decode", "logits"), "usage: check|tokens|decode|logits FILE")
    f = File(argv[2])
    if argv[1] == "check":
        print("ok %d tensors" % f.check())
    elif argv[1] == "logits":
        print(json.dumps(Model(f).feed(json.loads(sys.stdin.readline()))))
    else:
        act = Tokenizer(f).encode if argv[1] == "tokens" else Tokenizer(f).decode
        for line in sys.stdin:
            print(json.dumps(act(json.loads(line))))

if __name__ == "__main__":
    try:
        main(sys.argv)
    except (Bad, OSError, ValueError, ArithmeticError) as e:
        sys.exit("read_bimamba: %s" % e)
