#!/usr/bin/env python3
"""Sets adze beside its peers and beside the limits of this machine, and writes the result as Markdown.

    bench/run.py BUILD OUT [--quick] [--rounds N] [--peers FOLDER] [--llmc FOLDER]

Peers run in turn with adze, on the same files and shapes, so that a drift of the machine's speed meets both.
"""
import argparse
import os
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

import compress
import convert
import estimate
import growth
import page
import targets
from programs import ROOT, Programs

FORMATS = ["f32", "f16", "q8_0", "q4_0", "q4_k", "q6_k"]
MODEL_134M = {"width": 768, "blocks": 12, "heads": 12, "hidden": 2048, "vocabulary": 32000}
MODEL_1100M = {"width": 2048, "blocks": 22, "heads": 32, "kv_heads": 4, "hidden": 5632, "vocabulary": 32000}
TRAINING = {
    "1.05 M llama": {"width": 128, "blocks": 4, "heads": 4, "hidden": 344, "vocabulary": 2048, "length": 256, "batch": 16, "lora": 0},
    "15.2 M llama": {"width": 288, "blocks": 6, "heads": 6, "hidden": 768, "vocabulary": 32000, "length": 256, "batch": 8, "lora": 0},
    "1.05 M llama, LoRA of rank 8": {"width": 128, "blocks": 4, "heads": 4, "hidden": 344, "vocabulary": 2048, "length": 256, "batch": 16, "lora": 8},
    "15.2 M llama, LoRA of rank 8": {"width": 288, "blocks": 6, "heads": 6, "hidden": 768, "vocabulary": 32000, "length": 256, "batch": 8, "lora": 8},
}
GPT2 = {"width": 768, "blocks": 12, "heads": 12, "hidden": 3072, "vocabulary": 50257, "length": 64, "batch": 4}
DEEP = {"width": 256, "blocks": 16, "heads": 4, "hidden": 688, "vocabulary": 2048, "length": 256, "batch": 8}


class Bench:
    def __init__(self, programs, quick, rounds, drawing):
        self.p, self.quick, self.drawing, self.rounds = programs, quick, drawing, rounds or (1 if quick else 3)
        self.checks = []

    def pairs(self, ours, theirs):
        """Runs two measurements alternately: the best of each, and the median of the ratios pair by pair."""
        pairs = [(ours(), theirs()) for _ in range(self.rounds)]
        return max(p[0] for p in pairs), max(p[1] for p in pairs), statistics.median(p[0] / p[1] for p in pairs)

    # ---- inference ----

    def decode_row(self, name, model, threads, tokens):
        facts = self.p.ours(model, threads, 0, 8)
        runs = [{"read": self.p.read_rate(threads), "ours": self.p.ours(model, threads, 0, tokens)["decode_tok_s"],
                 "peer": self.p.llama_bench(model, threads, 0, tokens)} for _ in range(max(self.rounds, 3))]
        row = {"format": name, "decode_command": self.p.ours_command(model, threads, 0, tokens),
               "decode": max(r["ours"] for r in runs), "decode_peer": max(r["peer"] for r in runs),
               "decode_ratio": statistics.median(r["ours"] / r["peer"] for r in runs)}
        row["decode_gb_s"] = row["decode"] * facts["read_bytes"] / 1e9
        row["decode_of_read"] = statistics.median(r["ours"] * facts["read_bytes"] / 1e9 / r["read"] for r in runs)
        row["load_ms"] = facts["load_s"] * 1e3
        row["extra_mib"] = (facts["decode_peak_bytes"] - model.stat().st_size - facts["cache_bytes"]) / 2**20
        row["weights"] = facts["weights"]
        return row

    def add_prefill(self, row, model, threads, limits):
        row["prefill_command"] = self.p.ours_command(model, threads, 512, 0)
        row["prefill"], row["prefill_peer"], row["prefill_ratio"] = self.pairs(
            lambda: self.p.ours(model, threads, 512, 0)["prefill_tok_s"], lambda: self.p.llama_bench(model, threads, 512, 0))
        row["prefill_gflop_s"] = 2 * row["weights"] * row["prefill"] / 1e9
        row["prefill_of_f32"] = row["prefill_gflop_s"] / limits["f32_gflop_s"]

    def inference(self, files, threads, limits):
        rows = []
        for name, model in files.items():
            rows.append(self.decode_row(name, model, threads, 48))
            self.add_prefill(rows[-1], model, threads, limits)
        self.checks += [*targets.decoding("134 M", rows), *targets.prefill("134 M", rows)]
        return page.inference("Inference with a llama of 134 M parameters", rows)

    def large(self, threads):
        """The 1.1 B model; its files go as soon as they are measured."""
        formats = ["f16", "q8_0", "q4_0"] if self.quick else ["f16", "q8_0", "q4_0", "q4_k", "q6_k"]
        files = self.p.make_models("m1100", MODEL_1100M, formats)
        rows = [self.decode_row(name, model, threads, 12) for name, model in files.items()]
        self.checks += targets.decoding("1.1 B", rows)
        return files, page.inference("Decoding with a llama of 1.1 B parameters", rows)

    def batch(self, model, threads, limits):
        runs = [self.p.ours(model, threads, 0, 32, 8) for _ in range(self.rounds)]
        row = {"one": max(r["decode_tok_s"] for r in runs), "eight": max(r["batch8_tok_s"] for r in runs),
               "ratio": statistics.median(r["batch8_tok_s"] / r["decode_tok_s"] for r in runs),
               "command": self.p.ours_command(model, threads, 0, 32, 8)}
        read = 8e9 * limits["read_gb_s"] / runs[0]["read_bytes"]
        row["of_limit"] = row["eight"] / min(read, 1e9 * limits["f32_gflop_s"] / (2 * runs[0]["weights"]))
        self.checks += targets.batch(row)
        return page.batch(row)

    def conversion(self, model):
        rows = convert.conversions(self.p.build / "adze", model, self.p.folder, self.rounds)
        self.checks += targets.conversion(rows)
        return page.conversion("1.1 B", rows)

    # ---- training ----

    def training_row(self, name, architecture, shape, threads, limits, peer):
        steps = 1 if self.quick else 3
        runs = [(self.p.train(architecture, shape, threads, steps), peer(shape, threads, steps)) for _ in range(self.rounds)]
        row = {"name": name, "rate": max(a["tokens_s"] for a, _ in runs), "peer_rate": max(b["tokens_s"] for _, b in runs),
               "ratio": statistics.median(a["tokens_s"] / b["tokens_s"] for a, b in runs),
               "peak": runs[0][0]["peak_bytes"] / 2**20, "peer_peak": runs[0][1]["peak_bytes"] / 2**20,
               "command": self.p.train_command(architecture, shape, threads, steps)}
        products = 4 if shape.get("lora") else 6  # operations a parameter and token: frozen weights have no gradient
        row["gflop_s"] = products * runs[0][0]["parameters"] * row["rate"] / 1e9
        row["of_f32"] = row["gflop_s"] / limits["f32_gflop_s"]
        return row

    def training(self, threads, limits):
        rows = [self.training_row(name, "llama", shape, threads, limits, self.p.torch_train) for name, shape in TRAINING.items()]
        self.checks += targets.training(rows)
        out = page.training(rows, "PyTorch")
        if self.p.llmc:
            out += page.training([self.training_row("124 M GPT-2, 4 x 64", "gpt2", GPT2, threads, limits, self.p.llmc_train)], "llm.c")
        return out

    def checkpointing(self, threads):
        kept, again = (self.p.train("llama", DEEP, threads, 2, checkpoint) for checkpoint in (False, True))
        return page.checkpointing({"name": f"llama of {DEEP['blocks']} blocks, {kept['parameters'] / 1e6:.1f} M parameters, 8 x 256 tokens",
                                   "kept_rate": kept["tokens_s"], "kept_peak": kept["peak_bytes"] / 2**20,
                                   "again_rate": again["tokens_s"], "again_peak": again["peak_bytes"] / 2**20})

    # ---- methods that compress ----

    def one_shot(self):
        rows = list(compress.one_shot(self.p, self.rounds))
        self.checks += targets.one_shot(rows)
        return page.one_shot(rows)

    def kernels(self, threads):
        measured = self.p.kernels(threads)
        out = page.kernels(*measured)
        if threads == 1:
            rows = list(compress.sparse_products(self.p, measured))
            self.checks += targets.sparse_products(rows, [self.p.build / "bench/bench_kernels", "threads=1"])
            out += page.sparse_products(rows)
        return out

    # ---- methods on data ----

    def estimation(self):
        rows = estimate.comparisons(self.p, self.rounds, self.quick)
        self.checks += targets.estimation(rows)
        grown = growth.measure(self.p.build, self.rounds, self.quick)
        growth.draw(grown, self.drawing)
        return page.estimation(rows) + page.growth(grown, self.drawing.name)

    # ---- the whole ----

    def section(self, files, threads):
        limits = self.p.limits(threads)
        out = [f"## {threads} thread{'s' if threads > 1 else ''}\n", page.limits(limits)]
        out += self.inference(files, threads, limits)
        out += self.batch(files["q4_0"], threads, limits)
        if threads > 1 or not self.quick:
            large, text = self.large(threads)
            out += text
            if threads > 1:
                out += self.conversion(large["f16"])
            self.profile_missed()
            for file in large.values():
                file.unlink()
        out += self.training(threads, limits)
        out += self.checkpointing(threads)
        out += self.kernels(threads)
        self.profile_missed()
        return out

    def profile_missed(self):
        """Profiles what was missed since the last call, while its files are there; commands that several targets share only once."""
        seen = {}
        for check in (c for c in self.checks if c.missed and not c.profile):
            key = " ".join(map(str, check.command))
            seen[key] = seen[key] if key in seen else self.p.profile(check.command)
            check.profile = seen[key]

    def report(self):
        files = self.p.make_models("m134", MODEL_134M, FORMATS)
        out = page.head(self.p.versions(), self.rounds)
        for threads in (2, 1):
            first = len(self.checks)
            out += self.section(files, threads)
            for check in self.checks[first:]:
                check.what += f" ({threads} thread{'s' if threads > 1 else ''})"
        out += self.one_shot()
        out += self.estimation()
        self.profile_missed()
        missed = [c for c in self.checks if c.missed]
        return "\n".join(out + page.missed(missed))


def name_processor_for_blas(build):
    """OpenBLAS may not know this processor: the peers' copies are told what it is like, as the command tells its own."""
    version = subprocess.run([build / "adze", "--version"], capture_output=True, text=True, check=True).stdout
    os.environ.setdefault("OPENBLAS_CORETYPE", re.search(r"^blas .* for (\w+)$", version, re.M).group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true", help="one round instead of three (not of decoding), and fewer large models: about a quarter of an hour")
    parser.add_argument("--rounds", type=int, default=0, help="of runs in turn: ratios are medians over them")
    parser.add_argument("--peers", type=Path, default=None, help="folder with bin/llama-bench (default: BUILD/peers, built when missing)")
    parser.add_argument("--llmc", type=Path, default=None, help="a checkout of llm.c, whose trainer is then a peer on a GPT-2 shape")
    options = parser.parse_args()
    build = options.build.resolve()
    peers = (options.peers or build / "peers").resolve()
    subprocess.run(["cmake", "--build", build, "--target", "bench_programs"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([ROOT / "bench/peers/build.sh", peers], check=True)
    name_processor_for_blas(build)
    with tempfile.TemporaryDirectory() as folder:
        programs = Programs(build, peers, options.llmc, Path(folder))
        text = Bench(programs, options.quick, options.rounds, options.out.with_suffix(".growth.svg")).report()
    options.out.write_text(text)
    print(text)


main()
