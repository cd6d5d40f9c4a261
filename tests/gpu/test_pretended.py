"""Every kind of job that asks for a GPU, on a pretended one (``tests/tools/pretended.py``), at tiny size.

Each has the bits that it has on the CPU, whole and resumed once, which says that no tensor was on the wrong device on
the way; and each has a budget of times that the host waits for the GPU. A wait costs the GPU the launches that the host
would have sent meanwhile: some 20 us, which is as long as a small network's layer.
"""

import json
import os
import shutil
from contextlib import nullcontext

import frozen_bits
import pretended
import pytest
import torch
from harness import job
from pretended import CPU, GPU, MixedError

import lossatlas as la
from lossatlas.data.augment import Augment
from lossatlas.files import machine
from lossatlas.files.clock import Clock
from lossatlas.files.state import State
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.specs.registry import resolve
from lossatlas.study import subjects

ON_GPU = sorted(kind for kind, step in subjects.steps().items() if step.gpu)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """Return what runs the jobs of a study with every kind, in one folder."""
    if "avx2" not in machine.cpu()["isa"]:
        pytest.skip("the bits are pinned for CPUs with AVX2")
    pinned = json.loads(frozen_bits.PINNED.read_text())
    others = machine.differing_versions(pinned["versions"], frozen_bits.versions())
    if others:
        pytest.skip(f"libraries of other versions than when the bits were pinned: {', '.join(others)}")
    here, folder = os.getcwd(), tmp_path_factory.mktemp("pretended")
    shutil.copy(frozen_bits.FROZEN / "vectors.npy", folder)
    os.chdir(folder)
    yield Workshop(folder, pinned["artefacts"])
    os.chdir(here)


class Interruption(BaseException):
    """A kill right after a commit."""


class Workshop:
    """The artefacts of tests/study/frozen/every_kind.yaml, made one by one."""

    def __init__(self, folder, pinned):
        self.folder, self.artefacts = folder, frozen_bits.artefacts()
        self.bits = {name: one["bits"] for name, one in pinned.items()}

    def of(self, kind):
        """Return name -> artefact of a kind."""
        return {name: made for name, made in self.artefacts.items() if made.kind == kind}

    def path(self, made):
        """Return an artefact's file, made if need be; where its kind asks for a GPU, on the pretended one."""
        output = self.folder / made.path
        if not output.exists():
            self.make(made, output)
        return output

    def make(self, made, output, kill=0):
        """Make an artefact; with ``kill`` up to the so-manieth commit of those that there are and those that might be.

        Returns:
            The pretended GPU, how often it was asked whether a commit is due, and how many commits there might be.
        """
        inputs = {role: [self.path(part) for part in parts] for role, parts in made.inputs.items()}
        function, this = resolve(made.run), job(made.spec, output, output.parent / "state", **inputs)
        asked, written, real_write = [], [], State.write

        def due(clock):
            asked.append(len(asked) + len(written) + 1 == kill)
            return asked[-1]

        def write(state, *given):
            real_write(state, *given)
            if asked and asked[-1]:
                raise Interruption
            written.append(given)
            if len(asked) + len(written) == kill:
                raise Interruption

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Clock, "due", due)
            patch.setattr(State, "write", write)
            with pretended.device() if subjects.steps()[made.kind].gpu else nullcontext() as device:
                function(this)
        return device, len(asked), len(asked) + len(written)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # an interrupted job does not close its journal
@pytest.mark.parametrize("kind", ON_GPU)
def test_every_kind_has_the_cpus_bits_and_resumes_to_them(workshop, kind, rng):
    cases = workshop.of(kind)
    assert cases, f"{kind} asks for a GPU: add a case to tests/study/frozen/every_kind.yaml"
    for name, made in cases.items():
        output = workshop.folder / made.path
        device, places, commits = workshop.make(made, output)
        assert frozen_bits.bits(output) == workshop.bits[name], name
        allowed = BUDGETS[kind](made, places)
        assert device.count <= allowed, (
            f"{name}: {device.count} waits, {allowed} allowed: {device.places.most_common()}"
        )
        assert commits, f"{name}: no place where a commit might be"
        kill = int(rng.integers(1, commits + 1))
        again = output.with_name("again.h5")
        with pytest.raises(Interruption):
            workshop.make(made, again, kill)
        workshop.make(made, again)
        assert frozen_bits.bits(again) == workshop.bits[name], f"{name}, resumed after {kill} of {commits}"


# ---------------------------------------------------------------------------------------------------------------------
# budgets: the most waits of a job, from its spec and the number of its units of work (places where a commit might be
# due). A landscape costs 2 when it is made (it is evaluated twice, and compared), a point's losses and accuracies 2 a
# part of the data, a fingerprint's losses 6.


def _epochs(made, records):
    """One look at the losses an epoch (and one every 50 steps); 3 a recorded point; line searches decide on the host."""
    recipe = made.spec["recipe"]
    searching = recipe["optimizer"].startswith("lbfgs")
    return recipe["epochs"] * (25 if searching else 1) + 3 * records + 6


def _runs(made, places):
    recorded = made.spec["record"]["epochs"] == "all"
    return _epochs(made, made.spec["recipe"]["epochs"] + 1 if recorded else 1)


def _retrains(made, places):
    return sum(_epochs(made, made.spec["recipe"]["epochs"] + 1) for _ in made.spec["jumps"]) + 1


def _sweeps(made, places):
    """In lockstep nothing a step: 3 an evaluation of all members, 1 a member at its end. One by one: as runs."""
    members = len(made.spec["members"])
    if made.spec.get("lockstep"):
        return 6 + 3 * made.spec["history"] + 2 * members
    return members * (_epochs(made, made.spec["history"] + 2) + 2)


def _levelsets(made, places):
    """A step adapts its length to numbers, and its corrections to the loss: 12 a predictor step, 30 a search."""
    settings = made.spec["settings"]
    each = 30 if settings["traversal"] == "conjugate" else 12
    return sum(10 + each * settings["steps"] for _ in made.spec["members"])


def _paths(made, places):
    """Nothing a step but one look in 50; a recorded profile is measured: 9 a part."""
    settings = made.spec["settings"]
    return 4 + sum(settings["steps"] // 50 + 1 + 18 * (1 + len(made.spec["record"])) for _ in made.spec["members"])


def _tiles(made, places):
    """Of losses 2 a part and point. Of curvature 2 a Hessian product: its image, which is kept, and Lanczos' numbers."""
    if made.spec["measure"]["kind"] == "curvature":
        return 2 * places + 12
    return 2 * len(made.spec["parts"]) * places + 6


def _masses(made, places):
    """Chains tune themselves by numbers: 42 a ray, 12 a move of all chains, and what begins and ends a ladder."""
    return len(made.spec["members"]) * (190 + 42 * made.spec["rays"] + 12 * made.spec["moves"])


BUDGETS = {
    "runs": _runs,
    "retrains": _retrains,
    "sweeps": _sweeps,
    "levelsets": _levelsets,
    "paths": _paths,
    "tiles": _tiles,
    "descents": lambda made, places: 3 + 11 * places,  # 4 losses of a central difference, 3 numbers an angle
    "surfaces": lambda made, places: 5 + places,  # a row of losses
    "hessians": lambda made, places: 2 * places + 10,  # a product: its image, which is kept, and Lanczos' numbers
    "trusts": lambda made, places: 10 + places,  # a point's loss
    "masses": _masses,
    "triangles": lambda made, places: 4 + places,
    "slices": lambda made, places: 9 * len(made.spec["members"]) + places,
    "volumes": lambda made, places: 14 * len(made.spec["members"]) + places,  # the losses of up to 32 directions
    "boundaries": lambda made, places: 14 * len(made.spec["members"]),
    "averages": lambda made, places: 12 * places,  # a replica: its landscapes, and two points
    "imports": lambda made, places: 4 + 4 * places,
}
"""Kind -> artefact, places -> waits allowed."""


# ---------------------------------------------------------------------------------------------------------------------
# what it would refuse


def test_jitter_waits_for_nothing_and_changes_what_it_changes_on_the_cpu(rng):
    augment, seed = Augment(["crop", "flip", {"name": "rotate", "degrees": 45}, "jitter"]), int(rng.integers(1 << 30))
    images = torch.from_numpy(rng.integers(0, 256, (9, 3, 8, 8)).astype("uint8"))
    expected = augment(images, torch.Generator().manual_seed(seed))
    with pretended.device() as device:
        found = augment(images.to(GPU), torch.Generator("cuda").manual_seed(seed))
        assert device.count == 0
        found = found.cpu()
    assert torch.equal(found, expected)


def recurrent():
    """Return a small recurrent network."""

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = torch.nn.LSTM(4, 3, batch_first=True), torch.nn.Linear(3, 2)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    return Net()


def test_a_recurrent_landscape_is_differentiated_without_cudnn():
    """By cuDNN a recurrent layer has no backward pass in eval mode, and no second one at all."""
    with pretended.device():
        net = recurrent().to(GPU)
        landscape = NetworkLandscape(
            net, torch.randn(5, 6, 4, device=GPU), torch.zeros(5, dtype=torch.int64, device=GPU)
        )
        theta = landscape.theta()
        _, gradient = landscape.loss_and_grad(theta)
        assert torch.isfinite(landscape.hvp(theta, gradient)).all()
        with pytest.raises(RuntimeError, match="cudnn RNN backward can only be called in training mode"):
            net.eval()(torch.randn(5, 6, 4, device=GPU))
        with torch.no_grad():
            net(torch.randn(5, 6, 4, device=GPU))
        net.train()(torch.randn(5, 6, 4, device=GPU)).sum().backward()


def test_ones_own_network_is_computed_on_it_in_ieee_arithmetic():
    """Torch lets cuDNN round the factors of float32 products to TF32 unless it is told otherwise."""
    layers = [
        torch.nn.Flatten(),
        torch.nn.Linear(12, 6),
        torch.nn.BatchNorm1d(6),
        torch.nn.Tanh(),
        torch.nn.Linear(6, 3),
    ]
    with pretended.device():
        torch.backends.cudnn.conv.fp32_precision = "tf32"
        data = torch.randn(40, 3, 2, 2), torch.randint(3, (40,))
        net = la.load(torch.nn.Sequential(*layers), data=data, device="cuda")
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
        assert not torch.backends.cudnn.allow_tf32
        net.line(grid=3, check=False)
        net.surface(grid=3, check=False)
        net.hessian(trace=2, density=(1, 3), check=False)


@pytest.mark.parametrize(
    "mix",
    [
        lambda here, there: here + there,
        lambda here, there: here @ there,
        lambda here, there: torch.cat([here, there]),
        lambda here, there: torch.nn.functional.linear(here, there),
        lambda here, there: here[torch.tensor([0], device=GPU)],
        lambda here, there: torch.randn(2, device=GPU, generator=torch.Generator()),
        lambda here, there: setattr(here, "grad", there),
    ],
)
def test_mixing_devices_raises(mix):
    with pretended.device():
        here, there = torch.ones(2, 2), torch.ones(2, 2).to(GPU)
        with pytest.raises(MixedError):
            mix(here, there)
        with pytest.raises(TypeError, match="can't convert cuda"):
            there.numpy()


def test_waits_are_counted_and_tags_follow():
    with pretended.device() as device:
        x = torch.arange(4.0, device=GPU)
        assert (x.device, (2 * x).device, x[1].device, x.cpu().device) == (GPU, GPU, GPU, CPU)
        assert device.waits == {"to host": 1}
        assert float(x.sum()) == 6
        if x[0] == 0:
            x[x > 1]
        x.tolist()
        assert {name: device.waits[name] for name in ("__float__", "__bool__", "mask", "tolist")} == {
            "__float__": 1,
            "__bool__": 1,
            "mask": 1,
            "tolist": 1,
        }
        layer = torch.nn.Linear(4, 2).to(GPU)
        assert {p.device for p in layer.parameters()} == {GPU}
        layer(x).sum().backward()
        assert layer.weight.grad.device == GPU
        assert torch.cuda.is_available()
    assert not torch.cuda.is_available()
    assert torch.ones(2).device == CPU
