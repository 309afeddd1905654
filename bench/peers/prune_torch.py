"""Pruning a llama once, block by block, in PyTorch as the methods' published programs do it: one JSON object.

    prune_torch.py METHOD FOLDER SEQUENCES LENGTH THREADS

METHOD is wanda, dsnot (from wanda's mask, half of each row) or sparsegpt (2:4). FOLDER holds config.json and model.safetensors. Tokens are random:
the time does not depend on them.
"""
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

BLOCK, CYCLES = 128, 50  # columns of sparsegpt that are pruned together; most swaps of a row in dsnot
LAYERS = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]


def read_tensors(path):
    """A safetensors file of f16 or f32 as f32 tensors."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    types = {"F16": np.float16, "F32": np.float32}
    tensors = {}
    for name, entry in json.loads(raw[8 : 8 + size]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            values = np.frombuffer(raw[8 + size + begin : 8 + size + end], types[entry["dtype"]])
            tensors[name] = torch.from_numpy(values.astype(np.float32).reshape(entry["shape"]))
    return tensors


class Model:
    def __init__(self, folder, length):
        self.config = json.loads((folder / "config.json").read_text())
        self.tensor = read_tensors(folder / "model.safetensors")
        self.heads, self.kv_heads = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        self.dims = self.config["hidden_size"] // self.heads
        angle = torch.arange(length)[:, None] * 10000.0 ** (-torch.arange(0, self.dims, 2) / self.dims)
        self.cos, self.sin = (torch.cat((f, f), -1) for f in (angle.cos(), angle.sin()))
        self.mask = torch.full((length, length), float("-inf")).triu(1)

    def name(self, block, layer):
        return f"model.layers.{block}.{layer}.weight"

    def norm(self, x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.tensor[name]

    def rotate(self, x):
        a, b = x.chunk(2, -1)
        return x * self.cos + torch.cat((-b, a), -1) * self.sin

    def run_block(self, b, x, see):
        """x [1, length, width]; see(layer, input) gets what each layer reads."""

        def linear(layer, h):
            see(layer, h)
            return h @ self.tensor[self.name(b, layer)].T

        h = self.norm(x, f"model.layers.{b}.input_layernorm.weight")
        q, k, v = (linear(f"self_attn.{n}_proj", h).unflatten(-1, (-1, self.dims)).transpose(1, 2) for n in "qkv")
        q, k = self.rotate(q), self.rotate(k)
        k, v = (t.repeat_interleave(self.heads // self.kv_heads, 1) for t in (k, v))
        scores = q @ k.transpose(-1, -2) / math.sqrt(self.dims) + self.mask
        x = x + linear("self_attn.o_proj", (scores.softmax(-1) @ v).transpose(1, 2).flatten(-2))
        h = self.norm(x, f"model.layers.{b}.post_attention_layernorm.weight")
        return x + linear("mlp.down_proj", F.silu(linear("mlp.gate_proj", h)) * linear("mlp.up_proj", h))


class Statistics:
    """Of a layer's inputs: squares, sums and, where it is wanted, the Gram matrix."""

    def __init__(self, cols, gram):
        self.square, self.sum, self.tokens = torch.zeros(cols), torch.zeros(cols), 0
        self.gram = torch.zeros(cols, cols) if gram else None

    def add(self, h):
        h = h.flatten(0, -2)
        self.square += h.pow(2).sum(0)
        self.sum += h.sum(0)
        self.tokens += h.shape[0]
        if self.gram is not None:
            self.gram += h.T @ h


def wanda(w, s):
    score = w.abs() * s.square.sqrt()
    w.scatter_(1, score.argsort(1)[:, : w.shape[1] // 2], 0)


def dsnot(w, s):
    """Each row grows the dropped weight that takes most of its expected error away, and drops the kept one of the lowest score instead."""
    mean, score = s.sum / s.tokens, w.abs() * s.square.sqrt()
    effect, variance = w * mean, (s.square / s.tokens - mean.pow(2)).clamp_min(1e-12)
    gone = torch.zeros_like(w, dtype=torch.bool).scatter_(1, score.argsort(1)[:, : w.shape[1] // 2], True)
    error, rows = -(effect * gone).sum(1), torch.arange(w.shape[0])
    active = torch.ones(w.shape[0], dtype=torch.bool)
    for _ in range(CYCLES):
        sign = -error.sign()[:, None]
        grow = (effect * sign / variance).masked_fill(~gone, -math.inf).argmax(1)
        drop = score.masked_fill(gone | (effect * sign > 0), math.inf).argmin(1)
        after = error + effect[rows, grow] - effect[rows, drop]
        active &= after.abs() < error.abs()
        if not active.any():
            break
        gone[rows[active], grow[active]] = False
        gone[rows[active], drop[active]] = True
        error = torch.where(active, after, error)
    w[gone] = 0


def sparsegpt(w, s):
    h, cols = s.gram, w.shape[1]
    h.diagonal().add_(0.01 * h.diagonal().mean())
    u = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    for first in range(0, cols, BLOCK):
        end = min(first + BLOCK, cols)
        part, errors, block = w[:, first:end].clone(), torch.zeros(w.shape[0], end - first), u[first:end, first:end]
        keep = torch.ones_like(part, dtype=torch.bool)
        for j in range(end - first):
            if j % 4 == 0:
                score = part[:, j : j + 4].pow(2) / block.diagonal()[j : j + 4].pow(2)
                keep[:, j : j + 4].scatter_(1, score.topk(2, 1, largest=False)[1], False)
            column = part[:, j].clone()
            errors[:, j] = torch.where(keep[:, j], torch.zeros_like(column), column) / block[j, j]
            part[:, j:] -= errors[:, j : j + 1] @ block[j : j + 1, j:]
            part[:, j] = torch.where(keep[:, j], column, torch.zeros_like(column))
        w[:, first:end] = part
        w[:, end:] -= errors @ u[first:end, end:]


def main():
    method, folder, sequences, length, threads = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    torch.set_grad_enabled(False)
    model = Model(folder, length)
    prune = {"wanda": wanda, "dsnot": dsnot, "sparsegpt": sparsegpt}[method]
    tokens = torch.randint(model.config["vocab_size"], (sequences, length))
    start = time.perf_counter()
    state = [model.tensor["model.embed_tokens.weight"][t][None] for t in tokens]
    zeros = total = 0
    for b in range(model.config["num_hidden_layers"]):
        seen = {layer: Statistics(model.tensor[model.name(b, layer)].shape[1], method == "sparsegpt") for layer in LAYERS}
        for x in state:
            model.run_block(b, x, lambda layer, h: seen[layer].add(h))
        for layer in LAYERS:
            w = model.tensor[model.name(b, layer)]
            prune(w, seen[layer])
            zeros, total = zeros + int((w == 0).sum()), total + w.numel()
        state = [model.run_block(b, x, lambda layer, h: None) for x in state]
    print(json.dumps({"seconds": time.perf_counter() - start, "zeros": zeros / total}))


main()
