"""docs/benchmarks.md from what was measured."""
import os
import platform
from pathlib import Path


def table(head, rows, formats):
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(f.format(v) for f, v in zip(formats, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def head(versions, rounds):
    return ["# Benchmarks\n",
            "Written by `make bench`. Ratios are adze / peer in the same run (median of pairs), above 1 = adze is faster; rates are the best of "
            f"{f'{rounds} rounds of ' if rounds > 1 else ''}three repetitions (decoding: of three rounds at least). The share of reading that decoding "
            "reaches is the median over its rounds, of what memory gave just before each.\n",
            f"Machine: {processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}. {versions}.\n"]


def limits(l):
    caches = " / ".join(f"{size // 1024} KiB" for size in l["cache_bytes"])
    return (f"Limits measured here ({l['instructions']}): reading {l['read_gb_s']:.1f} GB/s at best ({l['streams']} places at once, pages of 2 MiB; "
            f"{l['read_small_pages_gb_s']:.1f} GB/s on pages of the usual size), multiply-adds of f32 {l['f32_gflop_s']:.0f} GFLOP/s, of bytes "
            f"{l['int8_gop_s']:.0f} GOP/s; OpenBLAS's sgemm {l['sgemm_gflop_s']:.0f} GFLOP/s. Caches {caches}. Shares below are of the first two, those of decoding as said above.\n")


def inference(title, rows):
    names = ["format", "decode tok/s", "llama.cpp", "ratio", "GB/s", "of reading"]
    keys = ["format", "decode", "decode_peer", "decode_ratio", "decode_gb_s", "decode_of_read"]
    formats = ["{}", "{:.1f}", "{:.1f}", "{:.2f}", "{:.1f}", "{:.2f}"]
    if "prefill" in rows[0]:
        names += ["prefill 512 tok/s", "llama.cpp", "ratio", "GFLOP/s", "of f32"]
        keys += ["prefill", "prefill_peer", "prefill_ratio", "prefill_gflop_s", "prefill_of_f32"]
        formats += ["{:.0f}", "{:.0f}", "{:.2f}", "{:.0f}", "{:.2f}"]
    names, keys, formats = names + ["load ms", "extra MiB"], keys + ["load_ms", "extra_mib"], formats + ["{:.1f}", "{:.0f}"]
    return [f"{title} (random weights, files that come from the disk) against llama.cpp; extra: memory beyond file "
            "and cache while decoding.\n",
            table(names, [[r[k] for k in keys] for r in rows], formats)]


def batch(row):
    return ["Decoding of eight sequences together, one token of each per pass (134 M, q4_0), beside one alone; the limit is eight tokens for one "
            "reading of the weights, or the f32 rate:\n",
            table(["batch 1 tok/s", "batch 8 tok/s", "ratio", "of the limit"], [[row["one"], row["eight"], row["ratio"], row["of_limit"]]],
                  ["{:.1f}", "{:.1f}", "{:.2f}", "{:.2f}"])]


def conversion(model, rows):
    return [f"### Conversion of a llama of {model} parameters\n",
            "`adze convert` of the f16 model until it is on the disk, against `cp` and `sync` of the file, in turn; here a ratio below 1 means that adze is "
            "faster. Memory is what lies beyond the mapped model.\n",
            table(["conversion", "s", "cp + sync s", "ratio", "extra MiB"], [[r[k] for k in ("name", "seconds", "copy", "ratio", "extra_mib")] for r in rows],
                  ["{}", "{:.2f}", "{:.2f}", "{:.2f}", "{:.0f}"])]


def training(rows, peer):
    return [f"Training steps (forward, backward, clipping, AdamW; f32) against {peer}:\n",
            table(["model", "tok/s", peer, "ratio", "GFLOP/s", "of f32", "peak MiB", peer],
                  [[r["name"], r["rate"], r["peer_rate"], r["ratio"], r["gflop_s"], r["of_f32"], r["peak"], r["peer_peak"]] for r in rows],
                  ["{}", "{:.0f}", "{:.0f}", "{:.2f}", "{:.0f}", "{:.2f}", "{:.0f}", "{:.0f}"])]


def checkpointing(row):
    return [f"Activation checkpointing ({row['name']}): each block's inside is computed again in the backward pass.\n",
            table(["", "tok/s", "peak MiB"], [["all activations kept", row["kept_rate"], row["kept_peak"]],
                                            ["checkpointing", row["again_rate"], row["again_peak"]],
                                            ["checkpointing / kept", row["again_rate"] / row["kept_rate"], row["again_peak"] / row["kept_peak"]]],
                  ["{}", "{:.4g}", "{:.3g}"])]


def kernels(facts, rows):
    """One line a format: bytes, speed with one vector, and ratios to f16 beside what bytes and operations predict."""
    counts = sorted({r["vectors"] for r in rows})
    lines = []
    for key in dict.fromkeys((r["format"], r["matrix"]) for r in rows):
        mine = {r["vectors"]: r for r in rows if (r["format"], r["matrix"]) == key}
        one = mine[1]
        ratios = [f"{mine[n]['to_f16']:.2f} ({mine[n]['predicted_to_f16']:.2f})" for n in counts]
        lines.append([*key, one["bytes_per_weight"], one["ms_min"], one["ms_median"], one["gb_s"], one["of_read"], mine[counts[-1]]["of_f32"], *ratios])
    shared = " Something else used the processors during this run." if any(r["shared_machine"] for r in rows) else ""
    names = ["format", "matrix", "bytes / weight", "ms", "median", "GB/s", "of reading", f"of f32 at {counts[-1]}", *(f"to f16 at {n}" for n in counts)]
    return [f"Products of a matrix [{facts['rows']}, {facts['cols']}] in each format with vectors of activations; copies take turns, so that weights "
            f"come from memory. Time and GB/s are for one vector. Ratios are to dense f16 in the same {facts['rounds']} rounds, in brackets what "
            f"bytes and f32 operations predict (limits of this run: {facts['read_gb_s']:.1f} GB/s, {facts['f32_gflop_s']:.0f} GFLOP/s).{shared}\n",
            table(names, lines, ["{}", "{}", "{:.3f}", "{:.3f}", "{:.3f}", "{:.1f}", "{:.2f}", "{:.2f}"] + ["{}"] * len(counts))]


def estimation(rows):
    lines = [[r["name"], r["ours"], r["peer"], r["ratio"], r["apart"]] for r in rows]
    return ["## Methods on data\n", "One thread, files read included; the reference is the same estimator in NumPy (without its start). The last column is how far the two "
            "results lie apart: dsl (random folds differ) and linf-regression in standard errors, the others relatively; krosbl stands beside a method "
            "without its structure.\n",
            table(["task", "seconds", "reference", "ratio", "apart"], lines, ["{}", "{:.3f}", "{:.3f}", "{:.1f}", "{:.3f}"])]


def growth(rows, drawing):
    lines = [[r["name"], f"{r['sizes'][0]} - {r['sizes'][-1]}", r["seconds"][0], r["seconds"][-1], r["exponent"]] for r in rows]
    return ["### Growth\n", f"Whole commands on one thread as one side of the data grows; the exponent is that of the larger half ([drawing]({drawing})).\n",
            table(["what grows", "sizes", "seconds of the least", "of the largest", "exponent"], lines, ["{}", "{}", "{:.3f}", "{:.3f}", "{:.2f}"])]


def one_shot(rows):
    lines = [[r["name"], r["ours"], r["peer"], r["ratio"]] for r in rows]
    return ["## Compression in one shot\n", "Two threads; the method alone, calibration included, against the same steps in PyTorch.\n",
            table(["method", "seconds", "PyTorch", "ratio"], lines, ["{}", "{:.2f}", "{:.2f}", "{:.1f}"])]


def sparse_products(rows):
    lines = [[r["vectors"], r["bitmap"], r["csl"], r["f32"], r["csr"], r["f32"] / r["bitmap"], r["csr"] / r["bitmap"]] for r in rows]
    return ["The same products with 80 % zeros beside dense f32 and SciPy's CSR (f32 values, 32-bit indices), milliseconds:\n",
            table(["vectors", "bitmap_f16", "csl_f16", "f32", "SciPy", "f32 / bitmap", "SciPy / bitmap"], lines,
                  ["{}"] + ["{:.3f}"] * 4 + ["{:.2f}"] * 2)]


def missed(checks):
    if not checks:
        return ["## Targets\n", "All hold.\n"]
    out = ["## Targets missed\n", "Each with the functions that took most of the time while it was measured once more, by Linux's perf.\n"]
    rows = []
    for c in checks:
        where = ", ".join(f"{share:.0%} {name}" for share, name in c.profile) if c.profile else "-"
        rows.append([c.what, c.value, c.target, c.value / c.target - 1, where])
    return out + [table(["target", "measured", "wanted", "off by", "time"], rows, ["{}", "{:.2f}", "{:.2f}", "{:.0%}", "{}"])]
