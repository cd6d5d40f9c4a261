"""A character GPT: tied weights, causal attention, a loss for every token. Its text is the source of Python's textwrap.

python examples/gpt.py [--small] [--out FOLDER]
"""

import inspect
import textwrap
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

import lossatlas as la
from digits import train
from out import arguments, show

LENGTH, WIDTH, HEADS = 32, 48, 4


class Block(nn.Module):
    """Causal attention and a hidden layer, each behind a layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.back = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.hidden = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, length, width) to the same."""
        q, k, v = self.qkv(self.first(x)).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.back(scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.hidden(self.second(x))


class GPT(nn.Module):
    """Characters to scores of the next one; the last layer is the embedding."""

    def __init__(self, characters: int, depth: int = 2) -> None:
        super().__init__()
        self.embedding, self.places = nn.Embedding(characters, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks, self.norm = nn.Sequential(*(Block() for _ in range(depth))), nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, characters, bias=False)
        self.head.weight = self.embedding.weight
        nn.init.normal_(self.embedding.weight, std=0.1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, length) int64 to (batch, length, characters)."""
        x = self.embedding(tokens) + self.places.weight[: tokens.shape[1]]
        return self.head(self.norm(self.blocks(x)))


def text() -> tuple[Tensor, int]:
    """Return the text as rows of LENGTH + 1 characters, numbered, and how many characters there are."""
    found = inspect.getsource(textwrap)
    known = sorted(set(found))
    numbers = torch.tensor([known.index(one) for one in found])
    return numbers.unfold(0, LENGTH + 1, 8).contiguous(), len(known)


def main(out: Path, small: bool = False) -> None:
    """Train, save, and look."""
    rows, characters = text()
    rows = rows[: 256 if small else None]
    x, y = rows[:, :-1], rows[:, 1:]
    torch.manual_seed(0)
    model = train(GPT(characters), x, y, epochs=1 if small else 12, loss=lambda scores, y: cross_entropy(scores.mT, y))
    torch.save(model.state_dict(), out / "gpt.pt")

    net = la.load(lambda: GPT(characters), out / "gpt.pt", data=(x, y), criterion="token_cross_entropy")
    show(net.surface(grid=5 if small else None, examples=32 if small else None, check=not small), out, "gpt")
    few = {"trace": 0, "density": None, "examples": 16, "most": 10, "check": False} if small else {"examples": 128}
    show(net.hessian(**few), out, "gpt-hessian")


if __name__ == "__main__":
    main(**arguments(__doc__))
