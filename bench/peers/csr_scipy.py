"""Products of a random sparse matrix with 1 .. 32 columns by SciPy's CSR, copies in turn so that they come from memory: a JSON object a number.

    csr_scipy.py ROWS COLS ZEROS ROUNDS
"""
import json
import sys
import time

import numpy as np
import scipy.sparse

rows, cols, zeros, rounds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
draw = np.random.default_rng(1)
dense = draw.standard_normal((rows, cols), dtype=np.float32) * (draw.random((rows, cols)) >= zeros)
first = scipy.sparse.csr_matrix(dense)
bytes_of_one = first.data.nbytes + first.indices.nbytes + first.indptr.nbytes
copies = [first.copy() for _ in range((128 << 20) // bytes_of_one + 1)]
for n in (1, 2, 4, 8, 16, 32):
    x = draw.standard_normal((cols, n), dtype=np.float32)
    times = []
    for i in range(rounds + 1):
        start = time.perf_counter()
        copies[i % len(copies)] @ x
        times.append(time.perf_counter() - start)
    print(json.dumps({"vectors": n, "ms_min": min(times[1:]) * 1e3, "bytes_per_weight": bytes_of_one / (rows * cols)}))
