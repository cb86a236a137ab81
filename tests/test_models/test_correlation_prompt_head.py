import math

import open_clip
import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.structures import DataSample
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from capnet_mm.models import (
    CorrelationPromptHead,
    IdentityGraph,
    TemplatePrompt,
    ZeroResidual,
)
from capnet_mm.models.label_graph import label_adjacency

NAMES = ["dog", "cat", "dining table", "tv"]
BCE = dict(type="CrossEntropyLoss", use_sigmoid=True)


@pytest.fixture
def make_head(tiny_clip):
    def make(**options):
        torch.manual_seed(0)
        options = {"classes": NAMES, "loss": BCE, **options}
        return CorrelationPromptHead(text_encoder=dict(model=tiny_clip), **options)

    return make


@pytest.fixture
def feats():
    return (torch.randn(5, 16, generator=torch.Generator().manual_seed(1)),)


def test_without_prompts_and_gcn_it_is_zero_shot_clip(make_head, feats, tiny_clip):
    head = make_head(prompt=None, gcn=None, temperature=0.01).eval()
    clip = open_clip.create_model(tiny_clip).eval()
    ids = open_clip.get_tokenizer(tiny_clip)([f"a photo of a {n}." for n in NAMES])
    with torch.no_grad():
        text = F.normalize(clip.encode_text(ids), dim=-1)
        expected = 100 * F.normalize(feats[0], dim=-1) @ text.T
        torch.testing.assert_close(head(feats), expected, rtol=1e-4, atol=1e-4)
    assert [n for n, p in head.named_parameters() if p.requires_grad] == ["logit_scale"]


def test_logits_equal_the_method_section(make_head, feats):
    """Prompts, graph, GCN and cosine, assembled here from their definitions."""
    head = make_head(
        prompt=dict(num_context=3),
        graph=dict(topk=2, neighbor_weight=0.3),
        gcn=dict(gamma=0.5, zero_init=False),
        temperature=0.2,
        bias=-1.5,
    ).eval()
    with torch.no_grad():
        f = F.normalize(head.prompt(head.text_encoder), dim=-1)
        e = head.text_encoder.encode_text([f"a photo of a {n}." for n in NAMES])
        a = label_adjacency(e, topk=2, neighbor_weight=0.3).dense()
        h = f
        for layer in (head.gcn.layer1, head.gcn.layer2):
            h = F.leaky_relu(a @ h @ layer.weight.T, 0.2)
        z = F.normalize(f + 0.5 * a @ h @ head.gcn.layer3.weight.T, dim=-1)
        expected = F.cosine_similarity(feats[0][:, None], z[None], dim=-1) / 0.2 - 1.5
        torch.testing.assert_close(head(feats), expected)
    assert float(head.temperature) == pytest.approx(0.2)


def test_template_ensemble_averages_normalised_features(make_head):
    templates = ["a photo of a {}.", "a drawing of a {}."]
    head = make_head(prompt=None, gcn=None, template=templates).eval()
    single = [
        F.normalize(head.text_encoder.encode_text([t.format(n) for n in NAMES]), dim=-1)
        for t in templates
    ]
    with torch.no_grad():
        expected = F.normalize(single[0] + single[1], dim=-1)
        torch.testing.assert_close(head.class_embeddings(), expected)


@pytest.mark.parametrize("switched_off", ["prompt", "graph", "gcn"])
def test_each_part_is_switched_off_by_one_key(make_head, feats, switched_off):
    head = make_head(**{switched_off: None})
    parts = {"prompt": head.prompt, "graph": head.graph, "gcn": head.gcn}
    stands_in = dict(prompt=TemplatePrompt, graph=IdentityGraph, gcn=ZeroResidual)
    assert type(parts[switched_off]) is stands_in[switched_off]
    head(feats).sum().backward()
    trainable = {n.split(".")[0] for n, p in head.named_parameters() if p.requires_grad}
    expected = {"logit_scale"} | ({"prompt", "gcn"} - {switched_off})
    assert trainable == expected
    for name, parameter in head.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name


def test_training_starts_at_the_prompts_text_features(make_head):
    head = make_head(prompt=dict(init_words="a photo of a"))
    zero_shot = make_head(prompt=None, gcn=None)
    torch.testing.assert_close(head.class_embeddings(), zero_shot.class_embeddings())


def test_loss_and_predict_speak_mmpretrains_language(make_head, feats):
    head = make_head(thr=0.6)
    samples = [DataSample().set_gt_label([i % 4]) for i in range(5)]
    loss = head.loss(feats, samples)["loss"]
    target = F.one_hot(torch.arange(5) % 4, 4).float()
    bce = F.binary_cross_entropy_with_logits(head(feats), target, reduction="sum")
    torch.testing.assert_close(loss, bce / 5)

    head.eval()
    with torch.no_grad():
        logits, predictions = head(feats), head.predict(feats, samples)
    for row, sample in zip(logits, predictions, strict=True):
        assert torch.equal(sample.pred_logits, row)
        torch.testing.assert_close(sample.pred_score, row.sigmoid())
        expected = (row.sigmoid() >= 0.6).nonzero().flatten()
        assert torch.equal(sample.pred_label, expected)
        assert "gt_label" in sample


class CountOperators(TorchDispatchMode):
    """Counts what a GPU would be given to do, view by view and kernel by kernel."""

    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.number += not function.is_view
        return function(*args, **(kwargs or {}))


def test_targets_take_as_many_operators_for_any_number_of_images(make_head):
    head, numbers = make_head(), []
    for size in (2, 50):
        samples = [DataSample().set_gt_label([1, i % 4][: i % 3]) for i in range(size)]
        scores = torch.zeros(size, 4)
        with CountOperators() as operators:
            head._get_loss(scores, samples)
        numbers.append(operators.number)
    assert numbers[0] == numbers[1]


def test_targets_are_those_of_mmpretrain(make_head):
    """No label, one, several; unknown ones come as scores."""
    head = make_head()
    labels = [[], [3], [0, 2], [1, 2, 3]]
    samples = [DataSample().set_gt_label(label) for label in labels]
    scores = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    expected = MultiLabelClsHead._get_loss(head, scores, samples)["loss"]
    torch.testing.assert_close(head._get_loss(scores, samples)["loss"], expected)

    for wrong in (-1, 4):
        with pytest.raises(RuntimeError, match="Class values must be"):
            head._get_loss(scores[:1], [DataSample().set_gt_label([wrong])])

    for sample in samples:
        sample.set_gt_score([1, 0, 1, 0])
    expected = MultiLabelClsHead._get_loss(head, scores, samples)["loss"]
    torch.testing.assert_close(head._get_loss(scores, samples)["loss"], expected)


def test_predictions_leave_the_gpu_together(make_head):
    """On a pretended GPU, as PyTorch's own tests have it: shapes and devices only."""
    head = make_head(topk=2).eval()
    with FakeTensorMode():
        predictions = head._get_predictions(torch.empty(3, 4, device="cuda"), None)
    for sample in predictions:
        for field in (sample.pred_logits, sample.pred_score, sample.pred_label):
            assert field.device.type == "cpu"


def test_logits_are_float32_under_autocast(make_head, feats):
    head = make_head().eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head((feats[0].bfloat16(),))
    assert logits.dtype == torch.float32
    assert len(logits.unique()) == logits.numel()


def count_text_encodings(head):
    calls = []
    head.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_class_embeddings_are_computed_once_for_each_set_of_weights(make_head, feats):
    head = make_head().eval()
    calls = count_text_encodings(head)
    with torch.no_grad():
        for _ in range(3):
            head(feats)
        assert len(calls) == 1
        head.prompt.context.add_(
            torch.randn_like(head.prompt.context)
        )  # what an optimiser step does
        changed = head(feats)
        assert len(calls) == 2
        torch.testing.assert_close(changed, make_copy(head)(feats))


def make_copy(head):
    import copy

    head = copy.deepcopy(head)
    head._cache.clear()
    return head.eval()


def test_training_between_evaluations_is_seen(make_head, feats):
    head = make_head()
    optimizer = torch.optim.SGD([p for p in head.parameters() if p.requires_grad], 1e-2)
    seen = []
    for _ in range(3):
        head.eval()
        with torch.no_grad():
            seen.append(head(feats))
            torch.testing.assert_close(head(feats), make_copy(head)(feats))
        head.train()
        optimizer.zero_grad()
        head(feats).square().sum().backward()
        optimizer.step()
    assert not torch.allclose(seen[0], seen[1])
    assert not torch.allclose(seen[1], seen[2])


def test_loaded_weights_are_seen(make_head, feats):
    head = make_head().eval()
    state = {k: v.clone() for k, v in head.state_dict().items()}
    state["prompt.context"] += torch.randn_like(state["prompt.context"])
    with torch.no_grad():
        before = head(feats)
        head.load_state_dict(state)
        assert not torch.allclose(head(feats), before)
        torch.testing.assert_close(head(feats), make_copy(head)(feats))


def test_weights_swapped_through_data_before_eval_are_seen(make_head, feats):
    """MMEngine's EMAHook exchanges ``.data`` and the loop then calls eval()."""
    head = make_head()
    ema = ExponentialMovingAverage(head, momentum=0.5)
    head.eval()
    with torch.no_grad():
        before = head(feats)
    head.train()
    with torch.no_grad():
        head.prompt.context.add_(torch.randn_like(head.prompt.context))
    ema.update_parameters(head)
    ema.update_parameters(head)
    head.eval()
    with torch.no_grad():
        head(feats)
    for parameter, average in zip(
        head.parameters(), ema.module.parameters(), strict=True
    ):
        swapped = parameter.data.clone()
        parameter.data.copy_(average.data)
        average.data.copy_(swapped)
    head.eval()
    with torch.no_grad():
        assert not torch.allclose(head(feats), before)
        torch.testing.assert_close(head(feats), make_copy(head)(feats))


def test_evaluation_with_gradient_is_not_cached(make_head, feats):
    head = make_head().eval()
    with torch.no_grad():
        head(feats)
    head(feats).sum().backward()
    assert head.prompt.context.grad.abs().sum() > 0


def test_features_of_other_widths_are_projected_or_refused(make_head):
    features = (torch.randn(2, 40),)
    with pytest.raises(ValueError, match=r"\(2, 40\).*in_channels"):
        make_head()(features)
    head = make_head(in_channels=40)
    assert head(features).shape == (2, 4)
    head(features).sum().backward()
    assert head.projection.weight.grad.abs().sum() > 0


def test_checkpoint_for_other_classes_is_refused(make_head):
    saved = make_head().state_dict()
    for other in (["dog", "cat"], [*reversed(NAMES)]):
        with pytest.raises(ValueError, match=f"has the {len(other)} classes"):
            make_head(classes=other).load_state_dict(saved)
    with pytest.raises(ValueError, match="prompt context"):
        make_head(prompt=dict(num_context=3)).load_state_dict(saved)
    shared = dict(prompt=dict(class_specific=False))
    saved = make_head(**shared).state_dict()
    make_head(classes=["dog", "cat"], **shared).load_state_dict(saved)


def test_checkpoint_of_scalar_temperature_bias_and_gamma_is_read(make_head):
    parts = dict(bias=-1.5, gcn=dict(learnable_gamma=True))
    saved = make_head(**parts, temperature=0.05).state_dict()
    for name in ("logit_scale", "logit_bias", "gcn.gamma"):
        assert saved[name].shape == (1,)
        saved[name] = saved[name][0] + 0.25
    head = make_head(**parts)
    head.load_state_dict(saved)
    assert head.temperature.shape == ()
    assert float(head.temperature) == pytest.approx(0.05 * math.exp(-0.25))
    assert head.logit_bias.tolist() == [-1.25]
    assert head.gcn.gamma.tolist() == [1.25]


def test_classes_come_from_a_data_set(make_head):
    head = make_head(classes=dict(type="VOCLT"))
    assert head.classes[18:] == ("train", "tvmonitor")
    assert head.num_classes == 20
    by_name = make_head(classes=["dining table", "tv"], prompt=None, gcn=None)
    of_voc = make_head(classes=dict(type="VOCLT"), prompt=None, gcn=None)
    with torch.no_grad():
        expected = of_voc.class_embeddings()[[10, 19]]
        torch.testing.assert_close(by_name.class_embeddings(), expected)


def test_wrong_settings_are_named(make_head):
    with pytest.raises(ValueError, match=r"no \{\} for the class name"):
        make_head(template="a photo")
    with pytest.raises(ValueError, match="repeated.*dog"):
        make_head(classes=["dog", "cat", "dog"])
    with pytest.raises(ValueError, match="no class names"):
        make_head(classes=[])
    with pytest.raises(ValueError, match="classes='classes.txt': expected dict"):
        make_head(classes="classes.txt")
    with pytest.raises(ValueError, match="temperature"):
        make_head(temperature=0)


# ------------------------------------------------------------ kept embeddings


def fused_step(head):
    """A fused optimizer leaves the version counters of the weights as they are."""
    parameters = [p for p in head.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    torch.optim.SGD(parameters, lr=0.5, fused=True).step()


def change_template_features(head):
    head.prompt.features.data[0] += 1


def overwrite_through_data(head):
    head.gcn.layer3.weight.data.copy_(torch.randn_like(head.gcn.layer3.weight))


def swap_two_contexts(head):
    """The same values in other places: sums would not tell."""
    head.prompt.context.data[[0, 1]] = head.prompt.context.data[[1, 0]].clone()


def exchange_the_clip(head):
    for parameter in head.text_encoder.parameters():
        parameter.data.copy_(torch.randn_like(parameter))


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (fused_step, {}),
        (change_template_features, dict(prompt=None)),
        (overwrite_through_data, {}),
        (swap_two_contexts, {}),
        (exchange_the_clip, {}),
    ],
)
def test_changes_that_leave_no_trace_in_eval_mode_are_seen(
    make_head, feats, change, options
):
    head = make_head(**options).eval()
    with torch.no_grad():
        before = head(feats)
    change(head)
    with torch.no_grad():
        after = head(feats)
        assert not torch.allclose(after, before, atol=1e-3)
        torch.testing.assert_close(after, make_copy(head)(feats), rtol=0, atol=0)


@pytest.mark.parametrize("first", [torch.float16, torch.bfloat16, None])
def test_embeddings_of_another_autocast_type_are_not_taken(make_head, feats, first):
    head = make_head().eval()

    def run(dtype, head):
        with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype is not None):
            return head(feats)

    for dtype in (first, torch.bfloat16, None):
        expected = run(dtype, make_copy(head))
        torch.testing.assert_close(run(dtype, head), expected, rtol=0, atol=0)


def test_frozen_classes_are_a_buffer_until_weights_or_mode_change(make_head, feats):
    head = make_head(bias=-1.0)
    with torch.no_grad():
        expected = head.eval()(feats)
        head.freeze_classes()
        calls = count_text_encodings(head)
        torch.testing.assert_close(head(feats), expected)
        assert not calls
        assert "frozen_class_embeddings" not in head.state_dict()
        changed = {k: v.clone() for k, v in head.state_dict().items()}
        changed["prompt.context"] += 1
        head.load_state_dict(changed)
        assert not torch.allclose(head(feats), expected)
    head.freeze_classes()
    head.train()(feats).sum().backward()
    assert head.prompt.context.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("options", [{}, dict(prompt=None), dict(graph=None)])
def test_other_precisions_score_alike(make_head, feats, dtype, options):
    head = make_head(gcn=dict(zero_init=False), **options).eval()
    with torch.no_grad():
        expected = head(feats)
        found = head.to(dtype)((feats[0].to(dtype),))
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    tolerance = 1e-4 if dtype == torch.float64 else 0.1
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=tolerance)


def test_a_model_built_in_inference_mode_predicts(make_head, feats):
    with torch.no_grad():
        expected = make_head().eval()(feats)
    with torch.inference_mode():
        head = make_head().eval()
        for _ in range(2):
            torch.testing.assert_close(head(feats), expected)


def test_unpooled_features_are_refused_by_the_head(make_head):
    head = make_head(in_channels=40)
    with pytest.raises(ValueError, match=r"\(2, 40, 7, 7\).*GlobalAveragePooling"):
        head((torch.randn(2, 40, 7, 7),))
    with pytest.raises(ValueError, match=r"\(2, 5, 40\).*features_only=True"):
        head((torch.randn(2, 5, 40),))
    with pytest.raises(ValueError, match="set in_channels=8"):
        head((torch.randn(2, 8),))


def test_one_tensor_is_a_batch_and_its_last_image_no_stage(make_head):
    """Backbones that are not MMPretrain's return their feature without a tuple."""
    head = make_head(in_channels=40).eval()
    features = torch.randn(3, 40)
    with torch.no_grad():
        assert torch.equal(head(features), head((features,)))
    with pytest.raises(ValueError, match=r"\(3, 5, 40\)"):
        head(torch.randn(3, 5, 40))  # not (5, 40), the tokens of the last image
