"""The adapters that ship, on real architectures with random weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from metricforge_standard.adapters._blocks import blocks_of
from metricforge_standard.adapters.last_blocks import LastBlocks
from metricforge_standard.adapters.layer_decay import LayerDecay
from metricforge_standard.adapters.lora import LoRA
from metricforge_standard.adapters.norm_only import NormOnly
from safetensors.torch import save_file
from torch import Tensor, nn

import metricforge
from metricforge.contracts import Dataset
from metricforge.errors import ArtefactError, MetricForgeError, PluginError, UsageError
from metricforge.loading import load
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.runs.build import assemble
from metricforge.spec import Spec
from metricforge.testing import check_adapter
from metricforge.training.optimizer import make_optimizer
from metricforge.weights.adapting import adapt, rates_of

timm = pytest.importorskip("timm", reason="requires metricforge[photos]")
ADAPTERS = ["lora:rank=4", "last-blocks:n=2", "norm-only", "layer-decay:factor=0.5"]
VIT = "timm:model=test_vit,pretrained=false"


def vit() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_vit", num_classes=0)


def learning(network: nn.Module) -> set[str]:
    return {name for name, each in network.named_parameters() if each.requires_grad}


@pytest.mark.parametrize("made", [LoRA, LastBlocks, NormOnly, LayerDecay])
def test_the_kit_passes_all(made: Any) -> None:
    assert check_adapter(made).passed


# ---------------------------------------------------------------- blocks


def numbered(names: list[str], level: int) -> set[str]:
    return {".".join(name.split(".")[:level]) for name in names}


def test_blocks_of_a_transformer_are_its_blocks() -> None:
    network = vit()
    blocks = blocks_of(network)
    count = len(network.blocks)
    assert len(blocks) == 1 + count
    assert {"cls_token", "pos_embed"} <= set(blocks[0])
    assert any(name.startswith("patch_embed.") for name in blocks[0])
    for index, names in enumerate(blocks[1:-1]):
        assert numbered(names, 2) == {f"blocks.{index}"}
    assert numbered(blocks[-1], 1) == {"blocks", "norm"}
    every = [name for names in blocks for name in names]
    assert sorted(every) == sorted(name for name, _ in network.named_parameters())


def test_blocks_of_residual_networks_are_their_blocks() -> None:
    from torchvision.models import resnet18

    network = resnet18(weights=None)
    blocks = blocks_of(network)
    assert [sorted(numbered(names, 2)) for names in blocks[1:4]] == [
        ["layer1.0"], ["layer1.1"], ["layer2.0"],
    ]  # fmt: skip
    assert numbered(blocks[0], 1) == {"conv1", "bn1"}
    assert numbered(blocks[-1], 1) == {"layer4", "fc"}
    efficient = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    blocks = blocks_of(efficient)
    assert len(blocks) == 1 + sum(map(len, efficient.blocks))
    assert {"conv_head.weight", "bn2.weight"} <= set(blocks[-1])
    # Whatever holds the network around it.
    around = nn.Sequential(efficient)
    assert len(blocks_of(around)) == len(blocks)


def test_every_backbone_that_ships_has_blocks() -> None:
    offers = {"in_channels": 1, "image_size": (32, 32)}
    for name in ("conv4", "lenet-prelu", "resnet-small", "resnet18"):
        backbone = Registry.installed().build("backbone", Spec.parse(name), offers)
        assert len(blocks_of(backbone)) >= 1
        names = [name for block in blocks_of(backbone) for name in block]
        assert sorted(names) == sorted(name for name, _ in backbone.named_parameters())


# ---------------------------------------------------------------- what learns


def test_last_blocks_learn_and_no_gradient_goes_further() -> None:
    network = vit()
    LastBlocks(n=2).adapt(network)
    expected = {name for names in blocks_of(network)[-2:] for name in names}
    assert learning(network) == expected
    network(torch.randn(2, 3, 160, 160)).sum().backward()
    assert all((each.grad is not None) == each.requires_grad for each in network.parameters())
    with pytest.raises(UsageError, match="freezes nothing: this backbone has"):
        LastBlocks(n=99).adapt(vit())
    with pytest.raises(UsageError, match="n of 1 or more"):
        LastBlocks(n=0)


def test_norms_alone_learn() -> None:
    network = vit()
    NormOnly().adapt(network)
    assert learning(network)
    assert all("norm" in name for name in learning(network))
    efficient = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    NormOnly().adapt(efficient)
    assert all("bn" in name for name in learning(efficient))
    with pytest.raises(UsageError, match="leave nothing of this backbone to learn"):
        adapt(nn.Sequential(nn.Linear(4, 4)), [NormOnly()])


def test_rates_decay_by_block_and_reach_the_optimizer() -> None:
    network = vit()
    decay = LayerDecay(factor=0.5)
    blocks = blocks_of(network)
    rates = decay.rates(network)
    for index, names in enumerate(blocks):
        assert {rates[name] for name in names} == {0.5 ** (len(blocks) - 1 - index)}
    factors = rates_of(network, [decay, LayerDecay(factor=0.5)])  # they multiply
    parameters = dict(network.named_parameters())
    first = parameters[blocks[0][0]]
    assert factors[first] == pytest.approx(0.25 ** (len(blocks) - 1))
    optimizer = make_optimizer(
        lambda groups: torch.optim.SGD(groups, lr=0.1), {"backbone": network},
        {"backbone": 0.3}, factors,
    )  # fmt: skip
    lr = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert lr[first] == pytest.approx(0.1 * 0.3 * 0.25 ** (len(blocks) - 1))
    assert lr[parameters[blocks[-1][-1]]] == pytest.approx(0.1 * 0.3)
    assert {group["name"] for group in optimizer.param_groups} == {"backbone"}
    assert len(lr) == len(list(network.parameters()))
    for factor in (0, 1.5):
        with pytest.raises(UsageError, match="factor above 0"):
            LayerDecay(factor=factor)


# ---------------------------------------------------------------- lora


def layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))


def test_lora_is_its_formula() -> None:
    plain, rank, alpha = layers().double(), 3, 6.0
    network = copy.deepcopy(plain)
    adapter = LoRA(rank=rank, alpha=alpha)
    adapter.adapt(network)
    shown = torch.randn(7, 6, dtype=torch.float64)
    torch.testing.assert_close(network(shown), plain(shown))  # nothing is added yet
    hidden = shown
    for layer, each in ((plain[0], network[0]), (plain[2], network[2])):
        nn.init.normal_(each.lora_up)
        low = hidden @ each.lora_down.T @ each.lora_up.T
        hidden = hidden @ layer.weight.T + layer.bias + alpha / rank * low
        hidden = hidden.relu() if layer is plain[0] else hidden
    torch.testing.assert_close(network(shown), hidden)
    unmerged = network(shown)
    adapter.merge(network)
    torch.testing.assert_close(network(shown), unmerged, rtol=1e-12, atol=1e-12)
    assert network.state_dict().keys() == plain.state_dict().keys()


def test_lora_adds_to_attention_too() -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    shown = torch.randn(3, 5, 8)
    before = attention(shown, shown, shown)[0]
    adapter = LoRA(rank=2)
    adapter.adapt(attention)
    torch.testing.assert_close(attention(shown, shown, shown)[0], before)
    loss = attention(shown, shown, shown)[0].square().sum()
    loss.backward()
    ups = [each for name, each in attention.named_parameters() if name.endswith("lora_up")]
    assert len(ups) == 2
    assert all(bool(each.grad.abs().sum() > 0) for each in ups)
    with torch.no_grad():
        for each in ups:
            nn.init.normal_(each)
    changed = attention(shown, shown, shown)[0]
    assert not torch.allclose(changed, before)
    adapter.merge(attention)
    torch.testing.assert_close(attention(shown, shown, shown)[0], changed)


def test_lora_takes_layers_by_name() -> None:
    network = vit()
    LoRA(rank=2, layers="*.qkv").adapt(network)
    assert len(learning(network)) == 2 * len(network.blocks)
    assert all(".qkv." in name for name in learning(network))
    with pytest.raises(UsageError, match=r"no linear or attention layer named \*\.none"):
        LoRA(layers="*.none").adapt(vit())
    with pytest.raises(UsageError, match="of any name in this backbone; take another adapter"):
        LoRA().adapt(nn.Sequential(nn.Conv2d(3, 4, 3)))
    with pytest.raises(UsageError, match="rank of 1 or more"):
        LoRA(rank=0)


@pytest.mark.fault(137)
def test_two_products_of_different_layers_both_learn() -> None:
    network = vit()
    adapt(network, [LoRA(rank=2, layers="*mlp*"), LoRA(rank=2, layers="*attn*")])
    assert any(".mlp." in name for name in learning(network))
    assert any(".attn." in name for name in learning(network))
    assert all("lora_" in name for name in learning(network))


@pytest.mark.fault(137)
@pytest.mark.parametrize(("adapters", "message"), [
    ([NormOnly(), LoRA(rank=2)], "LoRA freezes all that .*NormOnly trains; leave one of them out"),
    ([LoRA(rank=2), NormOnly()], "NormOnly freezes all that .*LoRA trains; leave one of them out"),
    ([LoRA(layers="*blocks.0.*"), LoRA(layers="*ocks.3.*"), LastBlocks(n=1)], "LastBlocks freezes"),
    ([LoRA(layers="*ocks.3.*"), LoRA(layers="*blocks.0.*"), LastBlocks(n=1)], "LastBlocks freezes"),
    ([LoRA(rank=4), LoRA(rank=2, layers="*qkv")], "two adapters 'lora' change the layer .*qkv"),
])  # fmt: skip
def test_adapters_of_which_one_would_undo_another_are_refused(
    adapters: list[Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        adapt(vit(), adapters)


def test_rates_of_blocks_go_with_products_in_any_order() -> None:
    for adapters in (
        [LayerDecay(factor=0.5), LoRA(rank=2)],
        [LoRA(rank=2), LayerDecay(factor=0.5)],
    ):
        network = vit()
        adapt(network, adapters)
        assert learning(network)
        assert all("lora_" in name for name in learning(network))


def test_the_last_blocks_and_norms_have_the_norms_of_the_last_blocks() -> None:
    network = vit()
    adapt(network, [LastBlocks(n=1), NormOnly()])
    assert learning(network)
    assert all("norm" in name for name in learning(network))


# ---------------------------------------------------------------- in a training


def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(8), 8)
    colours = rng.integers(0, 6, (8, 3))[labels]
    noise = rng.integers(0, 250, (64, 3, 32, 32))
    pixels = (noise + colours[:, :, None, None]).astype(np.uint8)
    classes = tuple(map(str, range(8)))
    return Dataset("x", torch.from_numpy(pixels), torch.from_numpy(labels), classes, (3, 32, 32))


def options(**changed: Any) -> dict[str, Any]:
    """A training of the small ViT at the size of its images."""
    return {
        "dataset": dataset(), "backbone": VIT, "epochs": 2,
        "split": "classes:train=0-3,validation=4-5,test=6-7", "device": "cpu", "test": False,
        "sampler": "hard-triplet:classes=4,per_class=4", "orientations": 1, **changed,
    }  # fmt: skip


def state(path: Any) -> dict[str, Tensor]:
    return load(path).state_dict()


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_what_does_not_learn_stays_and_has_no_state(adapter: str, tmp_path: Path) -> None:
    recipe = Recipe.from_values(options(adapters=(adapter,)), "x")
    setup = assemble(recipe, Registry.installed()).setup
    every = dict(setup.model.backbone.named_parameters())
    held = {p for group in setup.optimizer.param_groups for p in group["params"]}
    assert all((each in held) == each.requires_grad for each in every.values())
    before = copy.deepcopy(setup.model.state_dict())
    run = metricforge.train(
        **options(adapters=(adapter,), out=tmp_path / "run", optimizer="sgd:lr=1")
    )
    after = state(run.path)
    learnt = {f"backbone.{name}" for name in learning(setup.model.backbone)}
    changed = {
        name
        for name, value in before.items()
        if name.startswith("backbone.") and not value.equal(after[name])
    }
    assert changed
    assert changed <= learnt


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_merged_model_embeds_as_before(adapter: str, tmp_path: Path) -> None:
    run = metricforge.train(
        **options(adapters=(adapter,), out=tmp_path / "run", optimizer="adamw:lr=0.01")
    )
    model, images = load(run.path), dataset().images
    merged = model.merged()
    np.testing.assert_allclose(merged.encode(images), model.encode(images), atol=1e-5)
    assert merged.card.adapters == ()
    merged.save(tmp_path / "plain")
    again = load(tmp_path / "plain")
    np.testing.assert_allclose(again.encode(images), model.encode(images), atol=1e-5)
    assert not any("lora" in name for name in again.state_dict())
    assert (model.encode(images[:3]) == load(run.path).encode(images[:3])).all()  # it stays
    assert model.card.adapters == (
        str(Registry.installed().complete("adapter", Spec.parse(adapter))),
    )


def test_adapters_are_saved_without_their_base(tmp_path: Path) -> None:
    base = vit()
    save_file(base.state_dict(), tmp_path / "vit.safetensors")
    named = options(backbone=f'{VIT},weights="{tmp_path / "vit.safetensors"}"')
    run = metricforge.train(**named, adapters=("lora:rank=2",), out=tmp_path / "run")
    model = load(run.path)
    model.save(tmp_path / "small", base=False)
    size = {name: (tmp_path / name / "weights.safetensors").stat().st_size for name in ("small",)}
    assert size["small"] < (run.path / "model" / "weights.safetensors").stat().st_size / 2
    again = load(tmp_path / "small", base=tmp_path / "vit.safetensors")
    images = dataset().images
    assert (again.encode(images) == model.encode(images)).all()
    with pytest.raises(UsageError, match=r"load\(\.\.\., base=FILE\)"):
        load(tmp_path / "small")
    other = {name: value + 1 for name, value in base.state_dict().items()}
    save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(ArtefactError, match="were not trained on the weights in"):
        load(tmp_path / "small", base=tmp_path / "other.safetensors")
    plain = metricforge.train(**named, out=tmp_path / "plain")
    with pytest.raises(UsageError, match="has no adapters"):
        load(plain.path).save(tmp_path / "x", base=False)
    with pytest.raises(UsageError, match="has no adapters: leave base out"):
        load(plain.path, base=tmp_path / "vit.safetensors")


def test_another_run_starts_from_merged_weights(tmp_path: Path) -> None:
    run = metricforge.train(
        **options(adapters=("lora",), out=tmp_path / "run", optimizer="adamw:lr=0.01")
    )
    named = options(backbone=f"{VIT},weights={tmp_path / 'run'}", adapters=("norm-only",))
    setup = assemble(Recipe.from_values(named, "x"), Registry.installed()).setup
    merged = load(run.path).merged().backbone.state_dict()
    for name, value in setup.model.backbone.state_dict().items():
        torch.testing.assert_close(value.cpu(), merged[name])


@pytest.mark.parametrize("adapter", ["lora:rank=2", "last-blocks:n=1"])
def test_chunks_and_resumption_give_the_same(adapter: str, tmp_path: Path) -> None:
    given = {"adapters": (adapter,), "batch_norm": "frozen", "epochs": 2}
    whole = metricforge.train(**options(**given, out=tmp_path / "whole"))
    chunked = metricforge.train(**options(**given, chunk=5, out=tmp_path / "chunked"))
    for name, value in state(whole.path).items():
        torch.testing.assert_close(state(chunked.path)[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"adapters": ("lora",), "rates": "backbone=0"}, "adapters are of a backbone that learns"),
        ({"adapters": ("lroa",)}, "did you mean 'lora'"),
        ({"adapters": ("last-blocks:n=50",)}, "freezes nothing"),
        ({"adapters": ("lora",), "backbone": "conv4"}, "no linear or attention layer"),
    ],
)
def test_adapters_that_do_not_fit_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(MetricForgeError, match=message):
        metricforge.train(**options(**changed))


class Wrong(LayerDecay):
    def rates(self, backbone: nn.Module) -> dict[str, float]:
        return {"nothing.here": 1.0}


class Zero(LayerDecay):
    def rates(self, backbone: nn.Module) -> dict[str, float]:
        return dict.fromkeys((name for name, _ in backbone.named_parameters()), 0.0)


@pytest.mark.parametrize("made", [Wrong, Zero])
def test_rates_that_are_none_are_the_plugins_fault(made: Any) -> None:
    with pytest.raises(PluginError, match="must rate"):
        rates_of(vit(), [made()])


def test_an_adapter_of_ones_own_trains_and_its_merged_model_is_loaded(tmp_path: Path) -> None:
    run = metricforge.train(**options(adapters=(LoRA(rank=2),), out=tmp_path / "run"))
    with pytest.raises(UsageError, match=r"save model\.merged\(\)"):
        load(run.path)
