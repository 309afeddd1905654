"""Measures `adze convert` against copying the file: seconds until everything is on the disk, and memory beyond the mapped model."""
import os
import shutil
import subprocess
import sys
import time


def timed(command, out):
    """Seconds and peak resident bytes of a command that writes `out`, which is removed before it."""
    shutil.rmtree(out, ignore_errors=True)
    out.unlink(missing_ok=True)
    os.sync()
    start = time.monotonic()
    child = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"bench: {' '.join(map(str, command))} failed")
    return time.monotonic() - start, usage.ru_maxrss * 1024


def in_turn(ours, theirs, rounds):
    """What the two give in each round. Who is first changes: writing depends on what was removed before (memory, blocks of the disk)."""
    runs = [], []
    for i in range(rounds):
        for who in (0, 1) if i % 2 == 0 else (1, 0):
            runs[who].append((ours, theirs)[who]())
    return runs


def conversions(adze, model, folder, rounds):
    """One row a direction."""
    directory, out, out_folder = folder / "convert", folder / "convert.out.gguf", folder / "convert.out"
    subprocess.run([adze, "convert", model, "-o", directory], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    copy = ["sh", "-c", f"cp '{model}' '{out}' && sync '{out}'"]
    ways = {"GGUF to GGUF": [model, "-o", out], "GGUF to folder": [model, "-o", out_folder], "folder to GGUF": [directory, "-o", out],
            "GGUF, f16 to q8_0": [model, "--format", "q8_0", "-o", out]}
    rows = []
    for name, words in ways.items():
        command = [adze, "convert", *words]
        runs = in_turn(lambda: timed(command, words[-1]), lambda: timed(copy, out), 2 * rounds)
        seconds, copying = (min(r[0] for r in who) for who in runs)
        rows.append({"name": name, "seconds": seconds, "copy": copying, "ratio": seconds / copying, "command": command,
                     "extra_mib": max(0, max(r[1] for r in runs[0]) - model.stat().st_size) / 2**20})
    shutil.rmtree(out_folder, ignore_errors=True)
    shutil.rmtree(directory)
    out.unlink(missing_ok=True)
    return rows
