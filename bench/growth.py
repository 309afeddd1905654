"""How the time of methods of the family estimate grows with the rows and the columns of their data: whole commands on one thread, each
size the best of several, an exponent fitted to the logarithms, a drawing of all curves.

    growth.py BUILD OUT.svg [--quick]
"""
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def regression(folder, n, d):
    draw = np.random.default_rng(0)
    a = draw.standard_normal((n, d))
    np.save(folder / "A.npy", a)
    np.save(folder / "b.npy", a[:, 0] + draw.standard_normal(n))
    return "linf-regression:rows=2048", ["A.npy", "b.npy"]


def dictionary(folder, n, d):
    draw = np.random.default_rng(0)
    w, h = draw.random((8, d)) ** 4, draw.random((n, 8)) ** 4
    np.save(folder / "X.npy", h @ w + 0.05 * draw.random((n, d)))
    (folder / "labels.csv").write_text("label\n" + "".join(f"{int(v > 0)}\n" for v in h[:, 5] - h[:, 6]))
    return "sdl:rank=8,iterations=50,tol=0,top=0", ["X.npy", "labels=labels.csv"]


def entries(folder, n, d):
    draw = np.random.default_rng(0)
    u, v = draw.standard_normal((n, 5)), draw.standard_normal((d, 5))
    known = draw.random((n, d)) < 0.2
    np.save(folder / "M.npy", np.where(known, u @ v.T, np.nan))
    return "matrix-completion:rank=5,iterations=10,stop=0", ["M.npy"]


def labels(folder, n, d):
    draw = np.random.default_rng(0)
    x = draw.standard_normal((n, d))
    y = draw.random(n) < 1 / (1 + np.exp(-x[:, 0]))
    seen = draw.random(n) < 0.2
    names = [f"x{j + 1}" for j in range(d)]
    with open(folder / "labels.csv", "w") as out:
        out.write(",".join(names) + ",y,q\n")
        for row, value, known in zip(x, y, seen):
            out.write(",".join(f"{v:.5f}" for v in row) + f",{int(value) if known else ''},{int(value)}\n")
    return f"dsl:formula=y ~ {' + '.join(names)},model=logit,gold=y,surrogate=q,label_model=ols", ["labels.csv"]


def graph(folder, n, d):
    draw = np.random.default_rng(0)
    weights = np.triu(draw.standard_normal((d, d)) * (draw.random((d, d)) < 2 / d), 1)
    x = np.linalg.solve((np.eye(d) - weights).T, draw.standard_normal((n, d)).T).T
    np.savetxt(folder / "samples.csv", x, delimiter=",", header=",".join(f"v{j}" for j in range(d)), comments="")
    return "colide:warm=500,iterations=500,tol=0", ["samples.csv"]


def clusters(folder, n, d):
    draw = np.random.default_rng(0)
    x = draw.standard_normal((n, d)) + 3 * (np.arange(n)[:, None] % 2)
    np.savetxt(folder / "points.csv", x, delimiter=",", header=",".join(f"v{j}" for j in range(d)), comments="")
    return "ila-sdp:k=2,iterations=3", ["points.csv"]


# name, maker, sizes (n, d) as one of them grows
CURVES = [
    ("linf-regression, rows", regression, [(1 << k, 64) for k in range(13, 18)]),
    ("linf-regression, columns", regression, [(1 << 15, d) for d in (16, 32, 64, 128, 256)]),
    ("sdl, rows", dictionary, [(n, 200) for n in (500, 1000, 2000, 4000, 8000)]),
    ("sdl, columns", dictionary, [(1000, d) for d in (100, 200, 400, 800, 1600)]),
    ("matrix-completion, rows", entries, [(n, 200) for n in (250, 500, 1000, 2000, 4000)]),
    ("matrix-completion, columns", entries, [(200, d) for d in (250, 500, 1000, 2000, 4000)]),
    ("dsl, rows", labels, [(n, 4) for n in (2000, 4000, 8000, 16000, 32000)]),
    ("dsl, columns", labels, [(4000, d) for d in (2, 4, 8, 16, 32)]),
    ("colide, samples", graph, [(n, 20) for n in (500, 1000, 2000, 4000, 8000)]),
    ("colide, variables", graph, [(500, d) for d in (10, 20, 40, 80)]),
    ("ila-sdp, points", clusters, [(n, 3) for n in (20, 40, 80)]),
    ("ila-sdp, columns", clusters, [(40, d) for d in (2, 4, 8, 16)]),
]


def seconds(adze, folder, method, files, rounds):
    def path(file):
        slot, equals, name = file.rpartition("=")
        return f"{slot}{equals}{folder / name}"
    command = [adze, "estimate", method, *(part for file in files for part in ("-d", path(file))), "--threads", "1", "--json", "-q"]
    best = float("inf")
    for _ in range(rounds):
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **ONE_THREAD})
        best = min(best, time.perf_counter() - begun)
    return best


def measure(build, rounds, quick=False):
    """For each curve its name, the sizes that grow, the seconds, and the exponent over the larger half of the sizes."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, make, sizes in CURVES:
            sizes = sizes[:3] if quick else sizes
            axis = 0 if sizes[0][0] != sizes[1][0] else 1
            times = []
            for n, d in sizes:
                method, files = make(Path(scratch), n, d)
                times.append(seconds(build / "adze", Path(scratch), method, files, rounds))
            grown = [size[axis] for size in sizes]
            late = slice(len(grown) // 2 - 1, None)
            slope = float(np.polyfit(np.log(grown[late]), np.log(times[late]), 1)[0])
            rows.append({"name": name, "sizes": grown, "seconds": times, "exponent": slope})
    return rows


def draw(rows, path):
    """Two panels, by rows and by columns, both axes logarithmic; through gnuplot."""
    panels = [[r for r in rows if r["name"].endswith(("rows", "samples", "points"))],
              [r for r in rows if r["name"].endswith(("columns", "variables"))]]
    script = [f"set terminal svg size 1000,420 font ',11'\nset output '{path}'\nset logscale xy\nset key left top\nset multiplot layout 1,2\n",
              "set ylabel 'seconds'\n"]
    for panel, title in zip(panels, ("rows", "columns")):
        script.append(f"set xlabel '{title}'\nplot " + ", ".join(f"'-' with linespoints title '{r['name'].split(',')[0]}'" for r in panel) + "\n")
        for r in panel:
            script.append("".join(f"{x} {y}\n" for x, y in zip(r["sizes"], r["seconds"])) + "e\n")
    subprocess.run(["gnuplot"], input="".join(script), text=True, check=True)


if __name__ == "__main__":
    found = measure(Path(sys.argv[1]).resolve(), 2, "--quick" in sys.argv)
    draw(found, sys.argv[2])
    for row in found:
        print(f"{row['name']:28} {row['exponent']:5.2f}   " + "  ".join(f"{x}: {y:.3f}" for x, y in zip(row["sizes"], row["seconds"])))
