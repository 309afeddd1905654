"""The same llama training step as bench/train.c in PyTorch: same arguments, one JSON object. LORA: the rank of LoRA beside
every layer of the blocks, whose own weights then stay; 0 = all weights are trained.

    torch_train.py WIDTH BLOCKS HEADS HIDDEN VOCABULARY LENGTH BATCH LORA STEPS THREADS
"""
import json
import math
import resource
import sys
import time

import torch
import torch.nn.functional as F


class Norm(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


class LowRank(torch.nn.Module):
    """W x + 2 B A x with W as it is."""

    def __init__(self, inputs, outputs, rank):
        super().__init__()
        self.base = torch.nn.Linear(inputs, outputs, bias=False)
        self.base.weight.requires_grad = False
        self.a = torch.nn.Parameter(torch.empty(rank, inputs).uniform_(-inputs ** -0.5, inputs ** -0.5))
        self.b = torch.nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, x):
        return self.base(x) + 2 * F.linear(F.linear(x, self.a), self.b)


class Block(torch.nn.Module):
    def __init__(self, width, heads, hidden, lora):
        super().__init__()
        linear = lambda i, o: LowRank(i, o, lora) if lora else torch.nn.Linear(i, o, bias=False)
        self.heads = heads
        self.attn_norm, self.mlp_norm = Norm(width), Norm(width)
        self.q, self.k, self.v, self.o = (linear(width, width) for _ in range(4))
        self.gate, self.up, self.down = linear(width, hidden), linear(width, hidden), linear(hidden, width)

    def rotate(self, x, cos, sin):
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)

    def forward(self, x, cos, sin, mask):
        batch, length, width = x.shape
        h = self.attn_norm(x)
        q, k, v = (f(h).view(batch, length, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        q, k = self.rotate(q, cos, sin), self.rotate(k, cos, sin)
        scores = q @ k.transpose(-1, -2) / math.sqrt(width // self.heads) + mask
        x = x + self.o((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width))
        h = self.mlp_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(torch.nn.Module):
    def __init__(self, width, blocks, heads, hidden, vocabulary, length, lora):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, width)
        torch.nn.init.normal_(self.embedding.weight, std=0.02)
        self.blocks = torch.nn.ModuleList(Block(width, heads, hidden, lora) for _ in range(blocks))
        self.norm = Norm(width)
        if lora:
            for p in (self.embedding.weight, self.norm.weight, *(n.weight for b in self.blocks for n in (b.attn_norm, b.mlp_norm))):
                p.requires_grad = False
        dims = width // heads
        angle = torch.arange(length)[:, None] * 10000.0 ** (-torch.arange(0, dims, 2) / dims)
        self.cos, self.sin = angle.cos(), angle.sin()
        self.mask = torch.full((length, length), float("-inf")).triu(1)

    def forward(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.cos, self.sin, self.mask)
        return self.norm(x) @ self.embedding.weight.T


def main():
    width, blocks, heads, hidden, vocabulary, length, batch, lora, steps, threads = map(int, sys.argv[1:])
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = Llama(width, blocks, heads, hidden, vocabulary, length, lora)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1)
    tokens, target = (torch.randint(vocabulary, (batch, length)) for _ in range(2))
    best, loss = float("inf"), None
    for step in range(steps + 1):
        start = time.perf_counter()
        loss = F.cross_entropy(model(tokens).flatten(0, 1), target.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        if step > 0:
            best = min(best, time.perf_counter() - start)
    print(json.dumps({"parameters": sum(p.numel() for p in model.parameters()), "tokens_s": batch * length / best, "step_s": best,
                      "loss": loss.item(), "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


main()
