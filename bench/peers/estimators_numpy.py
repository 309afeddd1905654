#!/usr/bin/env python3
"""References in NumPy for methods of the family estimate; each prints seconds (without start and reading) and what it found as JSON.

    estimators_numpy.py colide SAMPLES.csv | completion ENTRIES.csv RANK ITERATIONS | regression A.npy B.npy | sbl A1.npy A2.npy A3.npy Y.npy NOISE
    estimators_numpy.py lifted X.npy LABELS.csv RANK STEPS | descent X.npy LABELS.csv RANK TURNS | smooth Y.csv PARTICLES SWEEPS
    estimators_numpy.py make FOLDER         writes data for all but the first: entries.csv, A.npy, b.npy, A1.npy, A2.npy, A3.npy, y.npy, X.npy,
                                        labels.csv
"""
import json
import sys
import time

import numpy as np


def colide(samples):
    """CoLiDE-EV as its authors wrote it: three stages of at most 20000 steps and one of 70000."""
    x = np.loadtxt(samples, delimiter=",", skiprows=1)
    begun = time.perf_counter()
    x = x - x.mean(axis=0)
    n, d = x.shape
    cov, eye = x.T @ x / n, np.eye(d)
    w, sigma, steps, mu = np.zeros((d, d)), np.sqrt(cov.diagonal().min()), 0, 1.0
    for s, most in ((1.0, 20000), (0.9, 20000), (0.8, 20000), (0.7, 70000)):
        m, v, before = 0, 0, 1e16
        for t in range(1, most + 1):
            inverse = np.linalg.inv(s * eye - w * w)
            g = -mu * (cov @ (eye - w)) / sigma + mu * 0.05 * np.sign(w) + 2 * w * inverse.T
            m, v = 0.99 * m + 0.01 * g, 0.999 * v + 0.001 * g * g
            w = w - 3e-4 * (m / (1 - 0.99**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
            left = eye - w
            sigma = np.sqrt(np.trace(left.T @ cov @ left) / d)
            steps += 1
            if t % 1000 and t < most:
                continue
            h = d * np.log(s) - np.linalg.slogdet(s * eye - w * w)[1]
            now = mu * (d * sigma + 0.05 * np.abs(w).sum()) + h
            if abs((before - now) / before) <= 1e-6:
                break
            before = now
        mu *= 0.1
    return time.perf_counter() - begun, {"sigma": sigma, "edges": int((np.abs(w) > 0.3).sum()), "steps": steps}


def completion(entries, rank, iterations):
    """Alternating minimisation, one lstsq a row and column."""
    data = np.loadtxt(entries, delimiter=",", skiprows=1)
    i, j, value, k = data[:, 0].astype(int), data[:, 1].astype(int), data[:, 2], int(rank)
    begun = time.perf_counter()
    m, n = i.max() + 1, j.max() + 1
    start = np.zeros((m, n))
    start[i, j] = value
    u = np.linalg.svd(start, full_matrices=False)[0][:, :k]
    rows, columns = [np.flatnonzero(i == r) for r in range(m)], [np.flatnonzero(j == c) for c in range(n)]
    for _ in range(int(iterations)):
        u = np.linalg.qr(u)[0]
        v = np.array([np.linalg.lstsq(u[i[c]], value[c], rcond=None)[0] for c in columns])
        v = np.linalg.qr(v)[0]
        u = np.array([np.linalg.lstsq(v[j[r]], value[r], rcond=None)[0] for r in rows])
    rmse = np.sqrt(np.mean((np.einsum("ek,ek->e", u[i], v[j]) - value) ** 2))
    return time.perf_counter() - begun, {"rmse": rmse}


def regression(a, b):
    a, b = np.load(a), np.load(b)
    begun = time.perf_counter()
    x = np.linalg.lstsq(a, b, rcond=None)[0]
    return time.perf_counter() - begun, {"first": x[0]}


def sbl(first, second, third, y, noise):
    """Sparse Bayesian learning without structure: 150 iterations at most, entries below 1e-3 of the largest dropped."""
    a, y, noise = np.kron(np.kron(np.load(first), np.load(second)), np.load(third)), np.load(y), float(noise)
    begun = time.perf_counter()
    gamma, place = np.ones(a.shape[1]), np.arange(a.shape[1])
    whole, steps = gamma.copy(), 0
    for steps in range(1, 151):
        scaled = a * gamma
        solved = np.linalg.solve(noise * np.eye(len(y)) + scaled @ a.T, np.column_stack([scaled, y]))
        mean = scaled.T @ solved[:, -1]
        gamma = gamma - np.einsum("mn,mn->n", scaled, solved[:, :-1]) + mean**2
        kept = gamma >= 1e-3 * gamma.max()
        a, gamma, place = a[:, kept], gamma[kept], place[kept]
        now = np.zeros_like(whole)
        now[place] = gamma
        moved = np.linalg.norm(now - whole) / np.linalg.norm(whole)
        whole = now
        if moved <= 1e-4:
            break
    return time.perf_counter() - begun, {"kept": len(place), "steps": steps}


def labelled(data, labels):
    return np.load(data).T, np.loadtxt(labels, skiprows=1)[None, :]


def lifted(data, labels, rank, steps):
    """Supervised dictionaries by projected gradients (filter, xi = 1, nu = 0.1), a randomized SVD in every step as the authors have it."""
    from sklearn.utils.extmath import randomized_svd
    x, y = labelled(data, labels)
    begun = time.perf_counter()
    (p, n), xi, nu, r = x.shape, 1.0, 0.1, int(rank)
    ones = np.ones((1, n))
    tau = 1 / max(2 * xi, 2 * nu + 0.25 * np.linalg.norm(np.vstack([x, ones]), 2) ** 2)
    a, b, gamma = np.zeros((p, 1)), np.zeros((p, n)), np.zeros((1, 1))
    for _ in range(int(steps)):
        e = 1 / (1 + np.exp(-(a.T @ x + gamma * ones))) - y
        moved = np.hstack([a - tau * (x @ e.T + 2 * nu * a), b - 2 * xi * tau * (b - x)])
        gamma = gamma - tau * (ones @ e.T + 2 * nu * gamma)
        u, s, v = randomized_svd(moved, r, n_iter=7, random_state=42)
        moved = (u * s) @ v
        a, b = moved[:, :1], moved[:, 1:]
    score = a.T @ x + gamma * ones
    seconds = time.perf_counter() - begun
    loss = (np.logaddexp(0, score) - y * score).sum() + xi * ((x - b) ** 2).sum() + nu * ((a**2).sum() + (gamma**2).sum())
    return seconds, {"objective": loss}


def descent(data, labels, rank, turns):
    """Supervised nonnegative dictionaries by block coordinate descent (filter, xi = 1) as the authors wrote it: five steps of W, two rounds
    through the rows of H, scikit-learn's regression. The objective is that of sdl: xi |X - W H|^2, not half of it."""
    from sklearn.linear_model import LogisticRegression
    x, y = labelled(data, labels)
    begun = time.perf_counter()
    (p, n), r, draw = x.shape, int(rank), np.random.default_rng(0)
    w, h, beta, bias = draw.random((p, r)), draw.random((r, n)), 1 - 2 * draw.random((1, r)), 0.0
    for _ in range(int(turns)):
        gram = h @ h.T
        for i in range(5):
            e = 1 / (1 + np.exp(-(beta @ (w.T @ x) + bias))) - y
            step = 1 / (np.sqrt(i + 10) * (np.trace(gram) + 1))
            w = np.maximum(w - step * (2 * (w @ h - x) @ h.T + x @ e.T @ beta), 0)
        w /= np.linalg.norm(w)
        q, b = w.T @ w, w.T @ x
        for _ in range(2):
            for k in range(r):
                h[k] = np.maximum(h[k] - (q[k] @ h - b[k]) / (q[k, k] + 1), 0)
        fit = LogisticRegression(random_state=0).fit((w.T @ x).T, y[0])
        beta, bias = fit.coef_, fit.intercept_[0]
    seconds = time.perf_counter() - begun
    score = beta @ (w.T @ x) + bias
    loss = (np.logaddexp(0, score) - y * score).sum() + ((x - w @ h) ** 2).sum() + 0.5 * (beta**2).sum()
    return seconds, {"objective": loss}


def ancestors(draw, x, weight, later, q, a):
    """Two for each of `later`, by rejection while that is quicker than the whole matrix."""
    n, sums = len(x), np.cumsum(weight) / weight.sum()
    out, left = np.empty(2 * n, int), np.arange(2 * n)
    target = np.repeat(later, 2)
    for _ in range(0 if n <= 128 else n // 8):
        guess = np.minimum(np.searchsorted(sums, draw.random(len(left))), n - 1)
        kept = draw.random(len(left)) < np.exp(-0.5 * (target[left] - a * x[guess]) ** 2 / q)
        out[left[kept]] = guess[kept]
        left = left[~kept]
        if len(left) < 64:
            break
    if len(left):
        p = np.cumsum(weight * np.exp(-0.5 * (target[left, None] - a * x) ** 2 / q), axis=1)
        out[left] = (p < draw.random(len(left))[:, None] * p[:, -1:]).sum(axis=1)
    return out.reshape(n, 2)


def smooth(series, particles, sweeps, a=0.95, q=0.6, r=1.0):
    """PaRIS, and then sweeps of it around a frozen path: the sum of the states."""
    y, n, draw = np.loadtxt(series, skiprows=1), int(particles), np.random.default_rng(0)
    begun = time.perf_counter()
    frozen, estimates = None, []
    for _ in range(int(sweeps) + 1):
        x = np.sqrt(q / (1 - a * a)) * draw.standard_normal(n)
        generations, back = [], []
        for t in range(len(y)):
            if t:
                chosen = draw.choice(n, n, p=weight / weight.sum())
                x = a * generations[-1][chosen] + np.sqrt(q) * draw.standard_normal(n)
            if frozen is not None:
                x[draw.integers(n)] = frozen[t]
            if t == 0:
                total = x
            else:
                back.append(ancestors(draw, generations[-1], weight, x, q, a))
                total = total[back[-1]].mean(axis=1) + x
            generations.append(x)
            log_weight = -0.5 * (y[t] - x) ** 2 / r
            weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        estimates.append(weight @ total)
        if int(sweeps):
            at, frozen = draw.choice(n, p=weight), np.empty(len(y))
            for t in range(len(y) - 1, -1, -1):
                frozen[t] = generations[t][at]
                at = back[t - 1][at, 0] if t else at
    return time.perf_counter() - begun, {"value": np.mean(estimates[1 + int(sweeps) // 2:]) if int(sweeps) else estimates[0]}


def make(folder):
    draw = np.random.default_rng(0)
    u, v = draw.standard_normal((600, 5)), draw.standard_normal((400, 5))
    i, j = np.nonzero(draw.random((600, 400)) < 0.2)
    values = (u @ v.T)[i, j] + 0.1 * draw.standard_normal(len(i))
    with open(f"{folder}/entries.csv", "w") as out:
        out.write("i,j,v\n" + "".join(f"{a},{b},{x!r}\n" for a, b, x in zip(i, j, values.tolist())))
    a = draw.standard_normal((1 << 17, 128))
    np.save(f"{folder}/A.npy", a)
    np.save(f"{folder}/b.npy", a[:, 0] + draw.standard_normal(len(a)))
    factors, x = [draw.standard_normal((m, 10)) for m in (5, 7, 8)], np.ones(1)
    for f, factor in enumerate(factors):
        np.save(f"{folder}/A{f + 1}.npy", factor)
        part = np.zeros(10)
        part[draw.choice(10, 2, replace=False)] = draw.standard_normal(2)
        x = np.kron(x, part)
    y = np.kron(np.kron(*factors[:2]), factors[2]) @ x
    noise = np.mean(y**2) / 100
    np.save(f"{folder}/y.npy", y + np.sqrt(noise) * draw.standard_normal(len(y)))
    w, h = draw.random((200, 8)) ** 4, draw.random((8, 1500)) ** 4
    x = w @ h + 0.05 * draw.random((200, 1500))
    np.save(f"{folder}/X.npy", x.T)
    score = 6 * (h[5] - h[6]) + 0.5 * draw.standard_normal(1500)
    with open(f"{folder}/labels.csv", "w") as out:
        out.write("label\n" + "".join(f"{int(value > 0)}\n" for value in score))
    return 0, {"noise": noise}


seconds, found = {"make": make, "colide": colide, "completion": completion, "regression": regression, "sbl": sbl, "lifted": lifted,
                  "descent": descent, "smooth": smooth}[sys.argv[1]](*sys.argv[2:])
print(json.dumps({"seconds": seconds, **{k: float(v) for k, v in found.items()}}))
