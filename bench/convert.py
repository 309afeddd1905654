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


def conversions(adze, model, folder, rounds):
    """One row a direction; copies and conversions run in turn."""
    directory, out, out_folder = folder / "convert", folder / "convert.out.gguf", folder / "convert.out"
    subprocess.run([adze, "convert", model, "-o", directory], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    copy = ["sh", "-c", f"cp '{model}' '{out}' && sync '{out}'"]
    ways = {"GGUF to GGUF": [model, "-o", out], "GGUF to folder": [model, "-o", out_folder], "folder to GGUF": [directory, "-o", out],
            "GGUF, f16 to q8_0": [model, "--format", "q8_0", "-o", out]}
    rows = []
    for name, words in ways.items():
        command = [adze, "convert", *words]
        runs = [(timed(command, words[-1]), timed(copy, out)[0]) for _ in range(rounds)]
        ours, theirs, peak = min(r[0][0] for r in runs), min(r[1] for r in runs), max(r[0][1] for r in runs)
        rows.append({"name": name, "seconds": ours, "copy": theirs, "ratio": ours / theirs, "command": command,
                     "extra_mib": max(0, peak - model.stat().st_size) / 2**20})
    shutil.rmtree(out_folder, ignore_errors=True)
    shutil.rmtree(directory)
    out.unlink(missing_ok=True)
    return rows
