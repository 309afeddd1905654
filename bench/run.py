#!/usr/bin/env python3
"""Sets adze beside its peers on this machine and writes the result as Markdown.

    bench/run.py BUILD OUT [--quick]

Peers run in turn with adze, on the same files and shapes, so that a drift of the machine's speed meets both. Every figure is the best of its
rounds; ratios are adze / peer, above 1 = adze faster.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FORMATS = ["f32", "f16", "q8_0", "q4_0", "q4_k", "q6_k"]
MODEL_134M = ["768", "12", "12", "2048", "32000"]
TRAINING = {"1.05 M": ["128", "4", "4", "344", "2048", "256", "16"], "15.2 M": ["288", "6", "6", "768", "32000", "256", "8"]}


def run_json(command, **environment):
    """Runs a program and reads the JSON it prints; its failure ends the benchmark."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env={**os.environ, **environment})
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(map(str, command))} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def best_of_pairs(rounds, ours, theirs):
    """Runs two measurements alternately: the best of each, and the median of the ratios pair by pair."""
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    return [max(p[0] for p in pairs), max(p[1] for p in pairs), statistics.median(p[0] / p[1] for p in pairs)]


def machine_limits(build, threads):
    return run_json([build / "bench/bench_machine", threads])


def llama_bench(peers, model, threads, prefill, decode):
    rows = run_json([peers / "bin/llama-bench", "-m", model, "-t", threads, "-p", prefill, "-n", decode, "-r", 3, "-o", "json"])
    return max(rows[0]["samples_ts"])


def bench_inference(build, peers, folder, threads, rounds):
    """Rows: format, decode (ours, peer, ratio), prefill (ours, peer, ratio), GB/s of weights while decoding."""
    rows, ours_run = [], lambda model, p, n: run_json([build / "bench/bench_lm", "run", model, threads, p, n])
    for name in FORMATS:
        model = folder / f"m134-{name}.gguf"
        if not model.exists():
            subprocess.run([build / "bench/bench_lm", "make", *MODEL_134M, name, model], check=True)
        decode = best_of_pairs(rounds, lambda: ours_run(model, 0, 48)["decode_tok_s"], lambda: llama_bench(peers, model, threads, 0, 48))
        prefill = best_of_pairs(rounds, lambda: ours_run(model, 512, 0)["prefill_tok_s"], lambda: llama_bench(peers, model, threads, 512, 0))
        facts = ours_run(model, 0, 16)
        extra = facts["decode_peak_bytes"] - model.stat().st_size - facts["cache_bytes"]
        rows.append([name, *decode, *prefill, decode[0] * facts["read_bytes"] / 1e9, facts["load_s"] * 1e3, extra / 2**20])
    return rows


def bench_batch(build, folder, threads, rounds):
    """Decoding alone and eight sequences at a time, tokens/s, and the median of their ratios; of the q4_0 model that bench_inference made."""
    runs = [run_json([build / "bench/bench_lm", "run", folder / "m134-q4_0.gguf", threads, 0, 32, 8]) for _ in range(rounds)]
    return [max(r["decode_tok_s"] for r in runs), max(r["batch8_tok_s"] for r in runs),
            statistics.median(r["batch8_tok_s"] / r["decode_tok_s"] for r in runs)]


def bench_training(build, threads, rounds):
    rows = []
    for name, shape in TRAINING.items():
        steps = "3"
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(run_json([build / "bench/bench_train", *shape, steps, threads]))
            theirs.append(run_json(["/usr/bin/python3", ROOT / "bench/peers/torch_train.py", *shape, steps, threads]))
        ratio = statistics.median(a["tokens_s"] / b["tokens_s"] for a, b in zip(ours, theirs))
        rows.append([name, max(a["tokens_s"] for a in ours), max(b["tokens_s"] for b in theirs), ratio,
                     ours[0]["peak_bytes"] / 2**20, theirs[0]["peak_bytes"] / 2**20])
    return rows


def table(head, rows, formats):
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(f.format(v) for f, v in zip(formats, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def report(build, peers, folder, rounds):
    version = subprocess.run([build / "adze", "--version"], capture_output=True, text=True).stdout.splitlines()[0]
    torch = subprocess.run(["/usr/bin/python3", "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True).stdout.strip()
    out = ["# Benchmarks\n", "Written by `make bench`. Ratios are adze / peer in the same run (median of pairs), above 1 = adze is faster; rates are "
           "the best of each program's rounds.\n",
           f"Machine: {processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}. {version}; "
           f"llama.cpp from node-llama-cpp 3.22.1; PyTorch {torch}.\n"]
    for threads in (2, 1):
        limits = machine_limits(build, threads)
        out.append(f"## {threads} thread{'s' if threads > 1 else ''}\n")
        out.append(f"Limits measured here: read bandwidth {limits['read_gb_s']:.1f} GB/s, sgemm {limits['sgemm_gflop_s']:.0f} GFLOP/s.\n")
        rows = bench_inference(build, peers, folder, threads, rounds)
        out.append("Inference, llama with 134 M parameters (random weights), against llama.cpp; memory beyond file and cache while decoding:\n")
        head = ["format", "decode tok/s", "llama.cpp", "ratio", "prefill 512 tok/s", "llama.cpp", "ratio", "read GB/s", "of bandwidth", "load ms", "extra MiB"]
        rows = [r[:8] + [r[7] / limits["read_gb_s"]] + r[8:] for r in rows]
        out.append(table(head, rows, ["{}", "{:.1f}", "{:.1f}", "{:.2f}", "{:.0f}", "{:.0f}", "{:.2f}", "{:.1f}", "{:.2f}", "{:.1f}", "{:.0f}"]))
        out.append("Decoding of eight sequences together, one token of each per pass (q4_0, the same model), beside one alone:\n")
        out.append(table(["batch 1 tok/s", "batch 8 tok/s", "ratio"], [bench_batch(build, folder, threads, rounds)], ["{:.1f}", "{:.1f}", "{:.2f}"]))
        out.append("Training step (forward, backward, clipping, AdamW; sequence 256), against PyTorch:\n")
        out.append(table(["parameters", "tok/s", "PyTorch", "ratio", "peak MiB", "PyTorch"], bench_training(build, threads, rounds),
                         ["{}", "{:.0f}", "{:.0f}", "{:.2f}", "{:.0f}", "{:.0f}"]))
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true", help="one round instead of three")
    parser.add_argument("--peers", type=Path, default=None, help="folder with bin/llama-bench (default: BUILD/peers, built when missing)")
    options = parser.parse_args()
    build = options.build.resolve()
    peers = (options.peers or build / "peers").resolve()
    subprocess.run(["cmake", "--build", build, "--target", "bench_programs"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([ROOT / "bench/peers/build.sh", peers], check=True)
    with tempfile.TemporaryDirectory() as folder:
        text = report(build, peers, Path(folder), 1 if options.quick else 3)
    options.out.write_text(text)
    print(text)


main()
