"""Graphs, matrices, regressions, sparse vectors and series of the family estimate beside references in NumPy, on one thread. Ours are whole commands,
files read included; the references' time is without start and reading."""
import json
import statistics
import time

from programs import PYTHON, ROOT, output_of

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def peer(*arguments):
    return json.loads(output_of([PYTHON, ROOT / "bench/peers/estimators_numpy.py", *arguments], **ONE_THREAD))


def in_folder(p, file):
    """"slot=file" and "file" as the command takes them."""
    slot, equals, name = file.rpartition("=")
    return f"{slot}{equals}{p.folder / name}"


def compare(p, name, method, files, theirs, apart, rounds):
    """apart(sections of ours, the peer's findings): how far both results are from each other."""
    ours = [p.build / "adze", "estimate", method, *(part for file in files for part in ("-d", in_folder(p, file))), "--threads", "1", "--json", "-q"]
    pairs = []
    for _ in range(rounds):
        begun = time.perf_counter()
        text = output_of(ours, **ONE_THREAD)
        seconds = time.perf_counter() - begun
        found = peer(*(p.folder / a if (p.folder / str(a)).exists() else a for a in theirs))
        pairs.append((seconds, found["seconds"]))
    rows = {}
    for row in map(json.loads, text.splitlines()):
        rows.setdefault(row.get("section"), row)
    return {"name": name, "ours": min(a for a, _ in pairs), "peer": min(b for _, b in pairs), "ratio": statistics.median(b / a for a, b in pairs),
            "apart": apart(rows, found), "command": ours}


def comparisons(p, rounds, quick):
    folder = p.folder / "graph"
    folder.mkdir(exist_ok=True)
    output_of([p.build / "adze", "estimate", "dag-samples:nodes=20,edges=40", "--seed", "5", "-o", f"{folder}/", "-q"])
    noise = peer("make", p.folder)["noise"]
    done = [compare(p, "colide, 20 variables", "colide:score=colide-ev", ["graph/samples.csv"], ["colide", "graph/samples.csv"],
                    lambda r, f: abs(r["noise"]["sigma"] - f["sigma"]) / f["sigma"], 1 if quick else rounds)]
    for solver, words in (("pcg", "sketched regressions"), ("cholesky", "normal equations")):
        done.append(compare(p, f"matrix-completion, 600 x 400 of rank 5, {words}",
                            f"matrix-completion:rank=5,iterations=20,stop=0,regression={solver}", ["entries.csv"], ["completion", "entries.csv", "5", "20"],
                            lambda r, f: abs(r["fit"]["rmse"] - f["rmse"]) / f["rmse"], rounds))
    done.append(compare(p, "linf-regression, 131072 x 128, srht of 1024 rows", "linf-regression:rows=1024", ["A.npy", "b.npy"],
                        ["regression", "A.npy", "b.npy"], lambda r, f: abs(r["coefficients"]["value"] - f["first"]) / r["coefficients"]["se"], rounds))
    done.append(compare(p, "krosbl (svd) beside learning without structure, 280 x 1000", f"krosbl:noise={noise}", ["A1.npy", "A2.npy", "A3.npy", "y.npy"],
                        ["sbl", "A1.npy", "A2.npy", "A3.npy", "y.npy", str(noise)], lambda r, f: float("nan"), rounds))
    sdl = "sdl:rank=8,tol=0,top=0"
    for name, options, theirs in (("sdl (lpgd), 1500 x 200 of rank 8, 200 steps", f"{sdl},algorithm=lpgd,nu=0.1,iterations=200", "lifted"),
                                  ("sdl (bcd), 1500 x 200 of rank 8, 200 turns", f"{sdl},iterations=200", "descent")):
        done.append(compare(p, name, options, ["X.npy", "labels=labels.csv"], [theirs, "X.npy", "labels.csv", "8", "200"],
                            lambda r, f: (r["fit"]["objective"] - f["objective"]) / f["objective"], rounds))
    params = 'params="a=.95,q=.6,r=1"'
    output_of([p.build / "adze", "estimate", f"ppg:task=simulate,{params},n=500", "--seed", "3", "-o", p.folder / "series.csv", "-q"])
    for name, options, particles, sweeps in (("ppg, 500 times, 8 sweeps of 64 particles", "particles=64,sweeps=8", 64, 8),
                                             ("ppg (paris), 500 times, 1000 particles", "method=paris,particles=1000", 1000, 0)):
        done.append(compare(p, name, f"ppg:{params},{options}", ["series.csv"], ["smooth", "series.csv", str(particles), str(sweeps)],
                            lambda r, f: abs(r["sums"]["value"] - f["value"]) / abs(f["value"]), rounds))
    return done


if __name__ == "__main__":
    import sys
    import tempfile
    from pathlib import Path

    from programs import Programs
    with tempfile.TemporaryDirectory() as scratch:
        for row in comparisons(Programs(Path(sys.argv[1]).resolve(), None, None, Path(scratch)), 2, "--quick" in sys.argv):
            print({k: v for k, v in row.items() if k != "command"})
