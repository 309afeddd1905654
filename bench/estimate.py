"""Methods of the family estimate beside references in NumPy, on one thread: whole commands, files read included."""
import json
import random
import statistics
import time
from math import exp

import estimate_matrices
from programs import PYTHON, ROOT, output_of


def write_labels(path, rows):
    """Labels of a machine for every row, of people for a fifth."""
    draw = random.Random(1)
    with open(path, "w") as out:
        out.write("x1,x2,y,q,pi\n")
        for _ in range(rows):
            x1, x2 = draw.random() < 0.5, draw.gauss(0, 1)
            pi = 0.3 if x1 else 0.15
            y = draw.random() < 1 / (1 + exp(0.3 - 0.8 * x1 - 0.5 * x2))
            q = y if draw.random() < (0.75 if x1 else 0.95) else True
            gold = int(y) if draw.random() < pi else ""
            out.write(f"{int(x1)},{x2:.6f},{gold},{int(q)},{pi}\n")


def timed(command):
    begun = time.perf_counter()
    out = output_of(command, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    return time.perf_counter() - begun, out


def dsl(p, rows, rounds):
    """The same estimator, splits and folds; the folds themselves are drawn differently."""
    path = p.folder / f"labels-{rows}.csv"
    write_labels(path, rows)
    ours = [p.build / "adze", "estimate", "dsl:formula=y ~ x1 + x2,model=logit,gold=y,surrogate=q,feature=x1 + x2,prob=pi,label_model=ols",
            "-d", path, "--threads", "1", "--json", "-q"]
    theirs = [PYTHON, ROOT / "bench/peers/dsl_numpy.py", path, 10, 5]
    pairs = []
    for _ in range(rounds):
        seconds, text = timed(ours)
        peer = json.loads(timed(theirs)[1])
        pairs.append((seconds, peer["read_s"] + peer["fit_s"]))
    found = [row["estimate"] for row in map(json.loads, text.splitlines()) if row["section"] == "coefficients"]
    apart = max(abs(a - b) / s for a, b, s in zip(found, peer["coefficient"], peer["se"]))
    return {"name": f"dsl, logit of {rows} rows, 10 splits", "ours": min(a for a, _ in pairs), "peer": min(b for _, b in pairs),
            "ratio": statistics.median(b / a for a, b in pairs), "apart": apart, "command": ours}


def comparisons(p, rounds, quick):
    own = [dsl(p, rows, rounds) for rows in ([20000] if quick else [20000, 200000])]
    return own + estimate_matrices.comparisons(p, rounds, quick)


if __name__ == "__main__":
    import sys
    import tempfile
    from pathlib import Path

    from programs import Programs
    with tempfile.TemporaryDirectory() as folder:
        for row in comparisons(Programs(Path(sys.argv[1]).resolve(), None, None, Path(folder)), 2, "--quick" in sys.argv):
            print({k: v for k, v in row.items() if k != "command"})
