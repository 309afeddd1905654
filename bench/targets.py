"""What must hold, and which of it does not."""
from dataclasses import dataclass


@dataclass
class Check:
    what: str
    value: float
    target: float
    command: list  # what to look at with a profiler when it does not hold
    profile: list = None  # [(share of the time, function)] once that was done

    @property
    def missed(self):
        return self.value < self.target


def decoding(model, rows):
    """At least 0.85 of the read bandwidth for f16 and q8_0, and 1.15 of llama.cpp's speed."""
    for r in rows:
        if r["format"] in ("f16", "q8_0"):
            yield Check(f"decoding, {model}, {r['format']}: share of the read bandwidth", r["decode_of_read"], 0.85, r["decode_command"])
        if r["format"] != "f32":
            yield Check(f"decoding, {model}, {r['format']}: llama.cpp's speed times", r["decode_ratio"], 1.15, r["decode_command"])


def prefill(model, rows):
    """At least llama.cpp's speed for f32 and f16, and 1.2 times it for the others."""
    for r in rows:
        target = 1.0 if r["format"] in ("f32", "f16") else 1.2
        yield Check(f"prefill of 512 tokens, {model}, {r['format']}: llama.cpp's speed times", r["prefill_ratio"], target, r["prefill_command"])


def batch(row):
    yield Check("eight sequences together, q4_0: speed of one alone times", row["ratio"], 4.0, row["command"])


def conversion(rows):
    """At most 1.5 times the time of a copy (where nothing is encoded), and 64 MiB of memory."""
    for r in rows:
        if "q8_0" not in r["name"]:
            yield Check(f"conversion, {r['name']}: time of a copy over adze's", 1 / r["ratio"], 1 / 1.5, r["command"])
        yield Check(f"conversion, {r['name']}: 64 MiB over adze's memory", 64 / max(r["extra_mib"], 1), 1.0, r["command"])


def training(rows):
    """At least 1.5 times PyTorch's speed, with LoRA at least its speed, in no more memory."""
    for r in rows:
        yield Check(f"training, {r['name']}: PyTorch's speed times", r["ratio"], 1.0 if "LoRA" in r["name"] else 1.5, r["command"])
        yield Check(f"training, {r['name']}: PyTorch's memory over adze's", r["peer_peak"] / r["peak"], 1.0, r["command"])


def estimation(rows):
    """At least three times the reference's speed."""
    for r in rows:
        yield Check(f"{r['name']}: the reference's speed times", r["ratio"], 3.0, r["command"])


def one_shot(rows):
    """Seconds each, and faster than the reference."""
    for r in rows:
        yield Check(f"{r['name']}: PyTorch's time over adze's", r["ratio"], 1.0, r["command"])
        yield Check(f"{r['name']}: ten seconds over adze's time", 10 / r["ours"], 1.0, r["command"])


def sparse_products(rows, command):
    """At 80 % zeros, faster than dense f32 and than SciPy's CSR."""
    for r in rows:
        yield Check(f"80 % zeros, {r['vectors']} vectors: dense f32's time over bitmap_f16's", r["f32"] / r["bitmap"], 1.0, command)
        yield Check(f"80 % zeros, {r['vectors']} vectors: SciPy's time over bitmap_f16's", r["csr"] / r["bitmap"], 1.0, command)
