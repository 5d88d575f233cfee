"""The networks: sizes, shapes, options, gradients, export, and the config behind them."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from AttentionUNetSegmentLib.errors import ModelError
from AttentionUNetSegmentLib.networks import (
    GATED_LEVELS,
    GATES,
    NETWORK_NAMES,
    NETWORKS,
    NORMS,
    UPSAMPLINGS,
    AttentionUNet,
    NetworkConfig,
    NetworkOutput,
    build_network,
    outline_network,
)
from AttentionUNetSegmentLib.networks.blocks import max_pool
from hypothesis import given
from hypothesis import strategies as st
from small_cards import biases_that_a_norm_takes_out

GATE_OPTIONS = list(product(GATES, GATED_LEVELS))
COMBINATIONS = [
    (name, dimensions, norm, upsampling, gate, gated_levels)
    for name, dimensions, norm, upsampling in product(NETWORK_NAMES, (2, 3), NORMS, UPSAMPLINGS)
    for gate, gated_levels in (GATE_OPTIONS if name == "AttentionUNet" else GATE_OPTIONS[:1])
]


def _config(name: str = "AttentionUNet", dimensions: int = 2, **options: Any) -> dict[str, Any]:
    return {
        "name": name,
        "dimensions": dimensions,
        "in_channels": 3,
        "out_channels": 4,
        "channels": [4, 4, 8, 8, 12],
        "norm": "instance",
        **options,
    }


def _build(*args: Any, seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    return build_network(_config(*args, **options))


def _image(*size: int, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(5))


def _parameters(config: dict[str, Any]) -> int:
    with torch.device("meta"):
        network = NETWORKS[config["name"]].from_config(NetworkConfig.from_mapping(config))
    return sum(parameter.numel() for parameter in network.parameters())


def test_an_outline_has_a_networks_shapes_and_takes_no_memory() -> None:
    config = _config("AttentionUNet", 3)
    outline, network = outline_network(config), build_network(config)
    assert {one.device.type for one in outline.state_dict().values()} == {"meta"}
    assert {one.device.type for one in network.state_dict().values()} == {"cpu"}
    shapes = [
        [(name, one.shape, one.dtype) for name, one in each.state_dict().items()]
        for each in (outline, network)
    ]
    assert shapes[0] == shapes[1]
    assert outline_network(dict(config)) is outline


# --- sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("upsampling", "unet", "gates"),
    [("transposed", 31_042_434, 525_612), ("interpolated", 34_525_954, 525_612)],
)
def test_published_sizes(upsampling: str, unet: int, gates: int) -> None:
    config = {"dimensions": 2, "in_channels": 1, "out_channels": 2, "upsampling": upsampling}
    assert _parameters({"name": "UNet", **config}) == unet
    assert _parameters({"name": "AttentionUNet", **config}) == unet + gates


def test_gates_have_the_published_channels() -> None:
    with torch.device("meta"):
        network = AttentionUNet(2, 1, 2)
    channels = [
        (gate.w_g[0].in_channels, gate.w_x[0].in_channels, gate.w_x[0].out_channels)
        for gate in network.gates
    ]
    assert channels == [(128, 64, 32), (256, 128, 64), (512, 256, 128), (1024, 512, 256)]


# --- shapes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dimensions", "norm", "upsampling", "gate", "gated_levels"), COMBINATIONS
)
def test_every_combination_of_options_builds_and_runs(
    name: str, dimensions: int, norm: str, upsampling: str, gate: str, gated_levels: str
) -> None:
    network = _build(
        name,
        dimensions,
        norm=norm,
        upsampling=upsampling,
        gate=gate,
        gated_levels=gated_levels,
        deep_supervision=True,
    )
    size = (18, 7, 5)[:dimensions]
    output = network(_image(*size, batch=2), return_attention=True, return_deep=True)
    assert output.logits.shape == (2, 4, *size)
    assert torch.isfinite(output.logits).all()
    levels = ((4,) if gated_levels == "deepest" else (1, 2, 3, 4)) if len(network.gates) else ()
    assert (name == "AttentionUNet") == bool(levels)
    assert network.gated_levels == levels
    heads = 4 if gate == "multi-head" else 1
    assert [tuple(alpha.shape) for alpha in output.attention] == [
        (2, heads, *(-(-n // 2 ** (level - 1)) for n in size)) for level in levels
    ]
    strides = (16, 32) if name == "FCN" else (2, 4, 8)
    assert network.deep_strides == strides
    assert [tuple(deep.shape) for deep in output.deep] == [
        (2, 4, *(-(-n // stride) for n in size)) for stride in strides
    ]


@pytest.mark.parametrize("name", NETWORK_NAMES)
@pytest.mark.parametrize("norm", ["instance", "group"])
@pytest.mark.parametrize("size", [(1, 1, 1), (1, 33, 16), (16, 16, 16), (5, 47, 3)])
def test_any_input_size_gives_logits_of_that_size(
    name: str, norm: str, size: tuple[int, int, int]
) -> None:
    network = _build(name, 3, norm=norm, gate="multi-scale")
    assert network(_image(*size)).shape == (1, 4, *size)


@pytest.mark.parametrize("name", NETWORK_NAMES)
def test_padding_repeats_the_last_voxels_at_the_end(name: str) -> None:
    network = _build(name, 2).eval()
    image = _image(20, 41)
    assert network.stride == (32 if name == "FCN" else 16)
    rows = torch.arange(32).clamp(max=19)
    columns = torch.arange(64 if name == "FCN" else 48).clamp(max=40)
    padded = image[:, :, rows][:, :, :, columns]
    torch.testing.assert_close(network(image), network(padded)[:, :, :20, :41])


def test_other_depths_than_five_levels() -> None:
    network = _build(dimensions=3, channels=[4, 8, 8])
    output = network(_image(9, 8, 4), return_attention=True)
    assert network.stride == 4
    assert [tuple(a.shape[2:]) for a in output.attention] == [(9, 8, 4), (5, 4, 2)]
    assert _build("FCN", 2, channels=[4, 8, 8]).stride == 8


def test_plain_call_returns_logits_and_only_what_is_asked_for() -> None:
    network = _build(deep_supervision=True).eval()
    image = _image(16, 16)
    logits = network(image)
    assert isinstance(logits, torch.Tensor)
    attention = network(image, return_attention=True)
    deep = network(image, return_deep=True)
    assert isinstance(attention, NetworkOutput)
    assert (len(attention.attention), len(attention.deep)) == (4, 0)
    assert (len(deep.attention), len(deep.deep)) == (0, 3)
    assert torch.equal(attention.logits, logits)
    assert torch.equal(deep.logits, logits)


@pytest.mark.parametrize("shape", [(1, 3, 16), (1, 2, 16, 16), (1, 3, 16, 16, 16)])
def test_input_of_other_axes_or_channels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="The network takes"):
        _build()(torch.zeros(shape))


# --- behaviour --------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", GATES)
def test_with_open_gates_it_is_the_plain_unet(gate: str) -> None:
    gated = _build("AttentionUNet", 3, gate=gate, seed=1)
    plain = _build("UNet", 3, seed=2)
    state = {k: v for k, v in gated.state_dict().items() if not k.startswith("gates.")}
    plain.load_state_dict(state)  # strict: the two differ in nothing but the gates
    image = _image(16, 18, 16)
    assert not torch.allclose(gated(image), plain(image))
    gated.set_gates_open(True)
    assert torch.equal(gated(image), plain(image))
    assert all((a == 1).all() for a in gated(image, return_attention=True).attention)
    gated.set_gates_open(False)
    assert not torch.allclose(gated(image), plain(image))
    plain.set_gates_open(True)  # no gates, no effect


def test_residual_blocks_add_their_input() -> None:
    block = _build("ResUNet").encoder[0]
    x = _image(8, 8)
    for parameter in block.body.parameters():
        torch.nn.init.zeros_(parameter)
    torch.testing.assert_close(block(x), torch.relu(block.shortcut(x)))
    same = type(block)(2, 4, 4, "batch")
    for parameter in same.body.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.randn(1, 4, 8, 8)
    assert torch.equal(same(x), torch.relu(x))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_fcn_doubles_its_scores_as_linear_interpolation_from_the_start(dimensions: int) -> None:
    doubling = _build("FCN", dimensions).doublings[0]
    scores = torch.randn(1, 4, *(5, 6, 7)[:dimensions])
    mode = {2: "bilinear", 3: "trilinear"}[dimensions]
    expected = torch.nn.functional.interpolate(scores, scale_factor=2, mode=mode)
    inside = (..., *[slice(1, -1)] * dimensions)  # at the border it sees zeros
    torch.testing.assert_close(doubling(scores)[inside], expected[inside])


@pytest.mark.parametrize("name", NETWORK_NAMES)
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("norm", NORMS)
def test_gradients_reach_every_parameter(name: str, dimensions: int, norm: str) -> None:
    network = _build(name, dimensions, norm=norm, deep_supervision=True)
    output = network(_image(*(32,) * dimensions, batch=2), return_deep=True)
    torch.manual_seed(3)
    loss = sum((one * torch.randn(one.shape)).sum() for one in (output.logits, *output.deep))
    loss.backward()
    cancelled = biases_that_a_norm_takes_out(network)
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter_name in cancelled or parameter.grad.abs().max() > 0, parameter_name
    assert norm == "batch" or not cancelled


@pytest.mark.parametrize("name", NETWORK_NAMES)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_background_is_the_sum_of_its_kinds(name: str, dimensions: int) -> None:
    network = _build(name, dimensions, deep_supervision=True, background_classes=3).eval()
    image = _image(*(32,) * dimensions)
    with torch.no_grad():
        joined = network(image, return_deep=True)
        network.set_background_apart(True)
        apart = network(image, return_deep=True)
    for ours, theirs in zip(
        (joined.logits, *joined.deep), (apart.logits, *apart.deep), strict=True
    ):
        each = theirs.softmax(dim=1)
        assert each.shape[1] == 6
        background = each[:, [0, 4, 5]].sum(dim=1, keepdim=True)
        expected = torch.cat((background, each[:, 1:4]), dim=1)
        torch.testing.assert_close(ours.softmax(dim=1), expected)


@pytest.mark.parametrize("gate", GATES)
def test_training_works_in_bfloat16(gate: str) -> None:
    network = _build(dimensions=3, gate=gate, deep_supervision=True)
    exact = network(_image(17, 16, 32))
    with torch.autocast("cpu", torch.bfloat16):
        output = network(_image(17, 16, 32), return_attention=True, return_deep=True)
    assert (output.logits.float() - exact).abs().mean() < 0.1 * exact.abs().mean()
    assert all(alpha.dtype == torch.float32 for alpha in output.attention)
    sum(one.float().square().mean() for one in (output.logits, *output.deep)).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(8, 6, 4), (9, 7, 5)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_maxima_without_gradients_are_pytorchs(
    shape: tuple[int, int, int], dtype: torch.dtype, layout: torch.memory_format
) -> None:
    x = torch.randn(2, 3, *shape).to(dtype).contiguous(memory_format=layout)
    x[0, 0, 0, 0, 0] = torch.nan
    pooled = max_pool(x)
    torch.testing.assert_close(pooled, F.max_pool3d(x, 2), rtol=0, atol=0, equal_nan=True)
    assert pooled.is_contiguous(memory_format=layout)


def test_of_equal_maxima_one_alone_gets_the_gradient() -> None:
    """As PyTorch has it; the maximum of two numbers gives each of them a half."""
    x = torch.zeros(1, 1, 2, 2, 2, requires_grad=True)
    max_pool(x).sum().backward()
    assert x.grad is not None
    assert x.grad.count_nonzero() == 1


def test_same_seed_same_network_same_output() -> None:
    first, second = _build(dimensions=3, seed=4), _build(dimensions=3, seed=4)
    image = _image(16, 16, 16)
    assert torch.equal(first(image), second(image))
    assert torch.equal(first(image), first(image))
    assert not torch.equal(first(image), _build(dimensions=3, seed=6)(image))


@pytest.mark.parametrize("gate", ["standard", "stable"])
def test_exported_3d_network_agrees(gate: str) -> None:
    network = _build(dimensions=3, channels=[4, 8, 8], gate=gate).eval()
    image = _image(10, 8, 12)
    exported = torch.export.export(network, (image,), {"return_attention": True}).module()
    output, expected = exported(image, return_attention=True), network(image, return_attention=True)
    torch.testing.assert_close(output.logits, expected.logits)
    torch.testing.assert_close(output.attention, expected.attention)


# --- attention maps ---------------------------------------------------------------------------


def test_attention_maps_come_at_their_levels_resolution() -> None:
    network = _build(dimensions=3)
    maps = network.get_attention_maps(_image(21, 16, 33, batch=2))
    assert [tuple(m.shape) for m in maps] == [
        (2, 1, 21, 16, 33),
        (2, 1, 11, 8, 17),
        (2, 1, 6, 4, 9),
        (2, 1, 3, 2, 5),
    ]
    assert all(not m.requires_grad and 0 <= m.min() <= m.max() <= 1 for m in maps)
    assert _build("UNet").get_attention_maps(_image(16, 16)) == []


def test_resampled_attention_maps_lie_where_their_voxels_lie() -> None:
    network = _build(dimensions=2)
    image = _image(37, 50)
    coarse = network.get_attention_maps(image)
    fine = network.get_attention_maps(image, resample=True)
    assert torch.equal(fine[0], coarse[0])
    for level, (small, large) in enumerate(zip(coarse, fine, strict=True), start=1):
        assert large.shape == (1, 1, 37, 50)
        # Linear interpolation keeps a ramp a ramp: voxel i of the level covers stride voxels.
        stride = 2 ** (level - 1)
        position = ((torch.arange(50) + 0.5) / stride - 0.5).clamp(0, small.shape[3] - 1)
        row = small[0, 0, 0]
        low = position.floor().long()
        part = position - low
        expected = row[low] * (1 - part) + row[(low + 1).clamp(max=len(row) - 1)] * part
        torch.testing.assert_close(large[0, 0, 0], expected)


def test_reading_attention_maps_leaves_training_and_statistics_alone() -> None:
    network = _build(norm="batch").train()
    network.head.eval()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    network.get_attention_maps(_image(16, 16))
    assert network.training
    assert not network.head.training
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


# --- the config -------------------------------------------------------------------------------


def test_config_goes_to_a_plain_mapping_and_back() -> None:
    config = NetworkConfig.from_mapping(_config(gate="multi-head", heads=2))
    mapping = config.to_mapping()
    assert mapping["channels"] == [4, 4, 8, 8, 12]
    assert set(mapping) == {
        *("name", "dimensions", "in_channels", "out_channels", "channels", "norm", "upsampling"),
        *("gate", "gated_levels", "deep_supervision", "heads", "background_classes"),
    }
    assert NetworkConfig.from_mapping(mapping) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "VNet"}, "name must be one of FCN, UNet, ResUNet, AttentionUNet, not 'VNet'"),
        ({"name": None}, "name must be one of"),
        ({"dimensions": 4}, "dimensions must be 2 or 3, not 4"),
        ({"dimensions": 2.0}, "dimensions must be 2 or 3"),
        ({"in_channels": 0}, "in_channels must be a whole number from 1"),
        ({"in_channels": True}, "in_channels must be a whole number"),
        ({"out_channels": "9"}, "out_channels must be a whole number"),
        ({"out_channels": 10**9}, "out_channels must be a whole number from 1 to 256"),
        ({"channels": 16}, "channels must be a list"),
        ({"channels": "16,32"}, "channels must be a list"),
        ({"channels": [16]}, "must list 2 to 7 levels, not 1"),
        ({"channels": [1] * 1000}, "must list 2 to 7 levels, not 1000"),
        ({"channels": [16, 10**12]}, "channels must be a whole number from 1 to 2048"),
        ({"channels": [16, 2.5]}, "channels must be a whole number"),
        ({"channels": [2048] * 7, "dimensions": 3}, r"describes [\d,]+ parameters; at most"),
        ({"name": "FCN", "channels": [4, 8]}, "must list 3 to 7 levels, not 2"),
        ({"norm": "layer"}, "norm must be one of batch, instance, group, not 'layer'"),
        ({"norm": ["batch"]}, "norm must be one of"),
        ({"upsampling": "nearest"}, "upsampling must be one of"),
        ({"gate": "open"}, "gate must be one of"),
        ({"gated_levels": "1"}, "gated_levels must be one of"),
        ({"deep_supervision": "yes"}, "deep_supervision must be true or false, not 'yes'"),
        ({"heads": 0}, "heads must be a whole number from 1"),
        ({"background_classes": 0}, "background_classes must be a whole number from 1 to 16"),
        ({"gate": "multi-head", "heads": 8}, "must divide the channels .* level 1 has 4"),
        ({"attention": True}, "unknown key 'attention'; it may hold name, dimensions"),
        ({"x" * 500: 1}, r"unknown key 'x+\.\.\.; it may hold"),
    ],
)
def test_unusable_config_is_refused_in_one_sentence(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as error:
        build_network({**_config(), **change})
    text = str(error.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 300


@pytest.mark.parametrize("key", ["name", "dimensions", "in_channels", "out_channels"])
def test_missing_required_key_is_named(key: str) -> None:
    config = _config()
    del config[key]
    with pytest.raises(ModelError, match=f'lacks "{key}"'):
        build_network(config)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(key=st.sampled_from([*_config(), "gate", "heads", "deep_supervision"]), value=JSON)
def test_whatever_a_card_holds_gives_a_config_or_a_clear_error(key: str, value: Any) -> None:
    try:
        config = NetworkConfig.from_mapping({**_config(), key: value})
    except ModelError:
        return  # any other error is a failure
    assert NetworkConfig.from_mapping(config.to_mapping()) == config


@pytest.mark.parametrize("value", [None, [], "UNet", 3])
def test_config_that_is_no_mapping_is_refused(value: Any) -> None:
    with pytest.raises(ModelError, match="must be a set of named values"):
        build_network(value)


def test_config_is_read_without_torch() -> None:
    code = (
        "import sys; from AttentionUNetSegmentLib.networks import NetworkConfig, focus_ratio; "
        "NetworkConfig('UNet', 3, 1, 2); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


# In other people's code


@pytest.mark.parametrize("name", NETWORK_NAMES)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_arguments_have_the_names_that_monai_gives_them(name: str, dimensions: int) -> None:
    """And make the network that the builder makes of the same config, weight by weight."""
    torch.manual_seed(0)
    network = NETWORKS[name](
        spatial_dims=dimensions,
        in_channels=1,
        out_channels=2,
        channels=[4, 8, 16],
        strides=(2, 2),
        norm="instance",
    )
    assert network.config.to_mapping() == {
        **NetworkConfig(name, dimensions, 1, 2, (4, 8, 16), "instance").to_mapping()
    }
    torch.manual_seed(0)
    built = build_network(network.config.to_mapping())
    assert type(built) is type(network)
    for ours, theirs in zip(network.parameters(), built.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_arguments_of_monais_attention_unet_are_taken() -> None:
    from monai.networks.nets import AttentionUnet

    shared: dict[str, Any] = {
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 2,
        "channels": (4, 8, 16),
        "strides": (2, 2),
    }
    image = torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        assert AttentionUNet(**shared)(image).shape == AttentionUnet(**shared)(image).shape


@pytest.mark.parametrize("strides", [(2, 2, 2), (2, 1), ()])
def test_strides_that_the_network_does_not_have_are_refused(strides: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="strides must be 2 times 2"):
        AttentionUNet(3, 1, 2, (4, 8, 16), strides)


def test_gates_are_chosen_by_name() -> None:
    network = AttentionUNet(2, 1, 2, (4, 8, 16), gate="multi-head", heads=2, gated_levels="deepest")
    assert network.gated_levels == (2,)
    assert network.get_attention_maps(torch.rand(1, 1, 8, 8))[0].shape == (1, 2, 4, 4)
    with pytest.raises(ModelError, match="gate must be one of"):
        AttentionUNet(2, 1, 2, (4, 8, 16), gate="loose")


def test_it_learns_in_a_plain_loop_and_answers_in_monais_inferer() -> None:
    """As anybody writes it: MONAI's loss, PyTorch's optimizer, a sliding window."""
    from monai.inferers import SlidingWindowInferer
    from monai.losses import DiceCELoss

    torch.manual_seed(0)
    network = AttentionUNet(
        spatial_dims=3, in_channels=1, out_channels=2, channels=(4, 8, 16), norm="instance"
    )
    image = torch.zeros(1, 1, 24, 24, 24)
    image[:, :, 6:18, 6:18, 6:18] = 1
    labels = image.clone()
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    values = []
    for _ in range(40):
        optimizer.zero_grad()
        value = loss(network(image), labels)
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.5 * values[0]
    inferer = SlidingWindowInferer(roi_size=(16, 16, 16), overlap=0.5)
    with torch.no_grad():
        logits = inferer(image, network.eval())
    marked = logits.argmax(1, keepdim=True)
    assert logits.shape == (1, 2, 24, 24, 24)
    assert 2 * (marked * labels).sum() / (marked.sum() + labels.sum()) > 0.9
