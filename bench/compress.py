"""Methods of the family compress beside references in PyTorch and SciPy."""
import json
import statistics

from programs import PYTHON, ROOT, output_of, run_json

SEQUENCES, LENGTH, THREADS = 32, 256, 2
ONE_SHOT = {"wanda": "wanda:no-error", "dsnot": "dsnot:skip=none,no-error", "sparsegpt": "sparsegpt:pattern=2:4,no-error"}


def seconds_of(report):
    """Of the method, from the report of `adze compress --json`."""
    return [row["seconds"] for row in map(json.loads, report.splitlines()) if row["section"] == "steps"][-1]


def one_shot(p, rounds):
    """The bundled model of 5 M parameters; the time of the method alone on both sides, calibration included."""
    adze, model, text, folder = p.build / "adze", ROOT / "models/storybook.gguf", p.folder / "stories.txt", p.folder / "storybook"
    output_of([adze, "corpus", "tales", "--stories", 600, "-o", text, "-q"])
    output_of([adze, "convert", model, "-o", folder, "-q"])
    for name, chain in ONE_SHOT.items():
        ours = [adze, "compress", model, f"{chain},nsamples={SEQUENCES},seqlen={LENGTH}", "-d", text, "-o", p.folder / "small.gguf", "--threads",
                THREADS, "--json", "-q"]
        theirs = [PYTHON, ROOT / "bench/peers/prune_torch.py", name, folder, SEQUENCES, LENGTH, THREADS]
        pairs = [(seconds_of(output_of(ours)), run_json(theirs)["seconds"]) for _ in range(rounds)]
        yield {"name": f"{name}, 5 M parameters, {SEQUENCES} x {LENGTH} tokens", "ours": min(a for a, _ in pairs), "peer": min(b for _, b in pairs),
               "ratio": statistics.median(b / a for a, b in pairs), "command": ours}


def sparse_products(p, kernels):
    """Products with 80 % zeros on one thread; kernels: the rows of the same run of bench_kernels."""
    facts, rows = kernels
    peer = map(json.loads, output_of([PYTHON, ROOT / "bench/peers/csr_scipy.py", facts["rows"], facts["cols"], 0.8, facts["rounds"]]).splitlines())
    for other in peer:
        ms = {r["format"]: r["ms_min"] for r in rows if r["vectors"] == other["vectors"] and r["matrix"] in ("normal", "80% zeros")
              and (r["matrix"] == "80% zeros" or r["format"] == "f32")}
        yield {"vectors": other["vectors"], "bitmap": ms["bitmap_f16"], "csl": ms["csl_f16"], "f32": ms["f32"], "csr": other["ms_min"]}
