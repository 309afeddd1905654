"""Design-based supervised learning of a logit, as a statistician would write it with NumPy: cross-fitted least squares, Newton's method on the
moment equation, medians over repeated splits. Prints one JSON object.

    dsl_numpy.py FILE SPLITS FOLDS        FILE: columns x1,x2,y,q,pi; y is empty where a row is not labelled
"""
import json
import sys
import time

import numpy as np


def newton(x, y, w):
    b = np.zeros(x.shape[1])
    for _ in range(50):
        m = 1 / (1 + np.exp(-x @ b))
        score = x.T @ (w * (y - m))
        step = np.linalg.solve(x.T @ (x * (w * m * (1 - m))[:, None]), score)
        b += step
        if np.abs(step).max() < 1e-10:
            return b
    raise ArithmeticError("no convergence")


def split_fit(x, y, g, r, pi):
    w = r / pi
    known = np.where(r == 1, y, g)
    stacked, outcome = np.vstack([x, x]), np.concatenate([g, known])
    weight = np.concatenate([1 - w, w])
    b = newton(stacked, outcome, weight)
    m = 1 / (1 + np.exp(-x @ b))
    score = x * (g - m + w * (known - g))[:, None]
    bread = np.linalg.inv(x.T @ (x * (m * (1 - m))[:, None]))
    return b, bread @ (score.T @ score) @ bread.T


def estimate(data, splits, folds):
    x1, x2, y, q, pi = data.T
    n, r = len(y), (~np.isnan(y)).astype(float)
    pi = pi * r.mean() / pi.mean()
    x, f = np.column_stack([np.ones(n), x1, x2]), np.column_stack([np.ones(n), q, x1, x2])
    random, points, variances = np.random.default_rng(1), [], []
    for _ in range(splits):
        fold, g = random.permutation(n) % folds, np.empty(n)
        for k in range(folds):
            train = (fold != k) & (r == 1)
            g[fold == k] = f[fold == k] @ np.linalg.lstsq(f[train], y[train], rcond=None)[0]
        b, v = split_fit(x, y, g, r, pi)
        points.append(b)
        variances.append(np.diag(v))
    b = np.median(points, axis=0)
    return b, np.sqrt(np.median(np.array(variances) + (np.array(points) - b) ** 2, axis=0))


def main():
    begun = time.perf_counter()
    data = np.genfromtxt(sys.argv[1], delimiter=",", skip_header=1)
    read = time.perf_counter()
    b, se = estimate(data, int(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps({"read_s": read - begun, "fit_s": time.perf_counter() - read, "coefficient": list(b), "se": list(se)}))


main()
