"""Runs the programs that are measured: adze's own in BUILD/bench, and the peers. Each prints JSON."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "/usr/bin/python3"  # Debian's, which sees Debian's PyTorch
AS_THE_COMMAND = {"GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "2000")}  # src/cli/environment.c


def output_of(command, **environment):
    """What a program prints; its failure ends the benchmark."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env={**os.environ, **environment})
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(map(str, command))} failed:\n{done.stderr}")
    return done.stdout


def run_json(command, **environment):
    return json.loads(output_of(command, **environment))


def forget(file):
    """The file is read from the disk again, as one that lay there: what was just written is held in small pages, which are slower."""
    with open(file, "rb") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def options(settings):
    return ",".join(f"{name}={value}" for name, value in settings.items())


class Programs:
    def __init__(self, build, peers, llmc_source, folder):
        self.build, self.peers, self.folder = build, peers, folder
        self.llmc = None
        if llmc_source:
            self.llmc = folder / "llmc_train"
            subprocess.run([ROOT / "bench/peers/llmc.sh", llmc_source, self.llmc], check=True)

    def limits(self, threads):
        return run_json([self.build / "bench/bench_machine", threads], **AS_THE_COMMAND)

    def read_rate(self, threads):
        """GB/s of memory at this moment: what other guests of the machine leave changes within seconds."""
        return run_json([self.build / "bench/bench_machine", threads, "read"], **AS_THE_COMMAND)["read_gb_s"]

    def kernels(self, threads):
        """The shape and limits of the run, and one row for each format and number of vectors."""
        lines = output_of([self.build / "bench/bench_kernels", f"threads={threads}"], **AS_THE_COMMAND).splitlines()
        first, *rows = map(json.loads, lines)
        return first, rows

    # ---- inference ----

    def make_models(self, name, shape, formats):
        """Random models of one shape, one file a format."""
        files = {f: self.folder / f"{name}-{f}.gguf" for f in formats}
        pairs = [word for f, file in files.items() for word in (f, file)]
        subprocess.run([self.build / "bench/bench_lm", "make", options(shape), *pairs], check=True)
        for file in files.values():
            forget(file)
        return files

    def ours(self, model, threads, prefill, decode, batch=0):
        return run_json(self.ours_command(model, threads, prefill, decode, batch), **AS_THE_COMMAND)

    def ours_command(self, model, threads, prefill, decode, batch=0):
        return [self.build / "bench/bench_lm", "run", model, threads, prefill, decode, batch]

    def llama_bench(self, model, threads, prefill, decode):
        """Tokens per second of llama.cpp, the best of its repetitions."""
        rows = run_json([self.peers / "bin/llama-bench", "-m", model, "-t", threads, "-p", prefill, "-n", decode, "-r", 3, "-o", "json"])
        return max(rows[0]["samples_ts"])

    # ---- training ----

    def train(self, architecture, shape, threads, steps, checkpoint=False):
        return run_json(self.train_command(architecture, shape, threads, steps, checkpoint), **AS_THE_COMMAND)

    def train_command(self, architecture, shape, threads, steps, checkpoint=False):
        settings = {**shape, "steps": steps, "threads": threads, "checkpoint": str(checkpoint).lower()}
        return [self.build / "bench/bench_train", f"{architecture}:{options(settings)}"]

    def torch_train(self, shape, threads, steps):
        return run_json([PYTHON, ROOT / "bench/peers/torch_train.py", *shape.values(), steps, threads])

    def llmc_train(self, shape, threads, steps):
        words = [shape[name] for name in ("width", "blocks", "heads", "vocabulary", "length", "batch")]
        return run_json([self.llmc, *words, steps, self.folder / "llmc.bin"], OMP_NUM_THREADS=str(threads))

    # ---- where time goes ----

    @staticmethod
    def profile(command, most=4):
        """[(share of the time, function)] by Linux's perf; None where it cannot be had."""
        if not shutil.which("perf"):
            return None
        with tempfile.TemporaryDirectory() as folder:
            data = f"{folder}/perf.data"
            done = subprocess.run(["perf", "record", "-q", "-F", "499", "-o", data, "--", *map(str, command)], capture_output=True)
            if done.returncode != 0:
                return None
            text = subprocess.run(["perf", "report", "--stdio", "-q", "--no-children", "-s", "symbol", "-i", data],
                                  capture_output=True, text=True).stdout
        rows = re.findall(r"^\s*([0-9.]+)%\s+\[.\]\s+(\S+)", text, re.M)
        return [(float(share) / 100, name) for share, name in rows[:most]]

    # ---- versions ----

    def versions(self):
        adze = subprocess.run([self.build / "adze", "--version"], capture_output=True, text=True).stdout.splitlines()[0]
        torch = subprocess.run([PYTHON, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True).stdout.strip()
        npm = re.search(r"node-llama-cpp@([0-9.]+)", (ROOT / "bench/peers/build.sh").read_text()).group(1)
        return f"{adze}; llama.cpp from node-llama-cpp {npm}; PyTorch {torch}" + ("; llm.c's train_gpt2.c" if self.llmc else "")
