import open_clip
import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.nn import functional as F

from capnet_mm.models import CLIPClassifier
from capnet_mm.models.peft.adapt_former import AdaptFormerLayer

NAMES = ["dog", "cat", "tv"]
BCE = dict(type="CrossEntropyLoss", use_sigmoid=True)


def build(clip, **options):
    config = dict(
        type="CLIPClassifier",
        clip=dict(model=clip),
        backbone=dict(adapter="auto"),
        head=dict(classes=NAMES, loss=BCE),
    )
    config["head"].update(options.pop("head", {}))
    return MODELS.build({**config, **options})


@pytest.mark.parametrize("vision", ["vit", "resnet", "timm"])
def test_uint8_bgr_images_are_scored_as_open_clip_scores_them(clips, vision):
    head = dict(prompt=None, gcn=None, temperature=0.01)
    model = build(clips[vision], head=head).eval()
    size = 64 if vision == "resnet" else 32
    bgr = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    with torch.no_grad():
        samples = model.test_step(
            dict(inputs=bgr, data_samples=[DataSample(), DataSample()])
        )
        clip, _, _ = open_clip.create_model_and_transforms(clips[vision])
        clip.eval()
        mean = torch.tensor([0.5, 0.4, 0.3])[:, None, None]
        std = torch.tensor([0.2, 0.3, 0.25])[:, None, None]
        image = clip.encode_image((bgr.flip(1) / 255 - mean) / std)
        tokens = open_clip.get_tokenizer(clips[vision])(
            [f"a photo of a {n}." for n in NAMES]
        )
        expected = 100 * F.cosine_similarity(
            image[:, None], clip.encode_text(tokens)[None], dim=-1
        )
    logits = torch.stack([sample.pred_logits for sample in samples])
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)


def test_one_clip_serves_both_branches_and_the_adapters_know_the_classes(tiny_clip):
    model = build(tiny_clip, head=dict(classes=[f"thing {i}" for i in range(32)]))
    layers = [m for m in model.modules() if isinstance(m, AdaptFormerLayer)]
    assert layers[0].down.out_features == 8  # 2 ** int(log2(32 / (2 * 2)))
    assert model.head.text_encoder.out_dim == 16


def test_what_a_part_says_itself_comes_first(clips):
    model = build(
        clips["vit"],
        backbone=dict(model=clips["timm"]),
        data_preprocessor=dict(mean=[0, 0, 0], std=[1, 1, 1]),
    )
    assert type(model.backbone.visual).__name__ == "TimmModel"
    assert model.data_preprocessor.mean.flatten().tolist() == [0, 0, 0]


def test_mmpretrains_backbone_beside_the_clips_text_branch(tiny_clip):
    backbone = dict(type="ResNet", depth=18)
    neck = dict(type="GlobalAveragePooling")
    mean = dict(mean=[1, 2, 3], std=[4, 5, 6])
    head = dict(in_channels=512)
    model = build(
        tiny_clip, backbone=backbone, neck=neck, head=head, data_preprocessor=mean
    )
    assert type(model.backbone).__name__ == "ResNet"
    assert model.data_preprocessor.mean.flatten().tolist() == [1, 2, 3]
    model = model.eval()
    with torch.no_grad():
        logits = model(torch.rand(2, 3, 32, 32))
        assert logits.shape == (2, len(NAMES))


@pytest.mark.parametrize("vision", ["vit", "resnet"])
def test_types_may_be_classes_in_a_run_without_scope(clips, vision):
    """As in configs of Python's own imports, which need not name a scope."""
    by_name = build(clips[vision], head=dict(loss=dict(type="DBFocalLoss")))
    config = dict(
        type=CLIPClassifier,
        clip=dict(model=clips[vision]),
        backbone=dict(adapter="auto"),
        head=dict(classes=NAMES),
    )
    with DefaultScope.overwrite_default_scope("mmengine"):
        by_class = MODELS.build(config)
    for part in ("head", "head.loss_module", "head.text_encoder", "head.graph"):
        kinds = {type(model.get_submodule(part)) for model in (by_name, by_class)}
        assert len(kinds) == 1
    names = [list(model.state_dict()) for model in (by_name, by_class)]
    assert names[0] == names[1]


@pytest.mark.parametrize("part", ["head", "backbone"])
def test_an_unknown_type_is_named(tiny_clip, part):
    with pytest.raises(KeyError, match="Nowhere is not in"):
        build(tiny_clip, **{part: dict(type="Nowhere")})


def test_mmpretrains_linear_head_on_the_frozen_tower(tiny_clip):
    head = dict(
        type="MultiLabelLinearClsHead", num_classes=3, in_channels=16, classes=None
    )
    del head["classes"]
    model = MODELS.build(
        dict(
            type="CLIPClassifier",
            clip=dict(model=tiny_clip),
            backbone=dict(),
            head=head,
        )
    )
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == {"head.fc.weight", "head.fc.bias"}


def test_every_trainable_parameter_gets_a_gradient(tiny_clip):
    """Otherwise DistributedDataParallel would stop at the second iteration."""
    model = build(tiny_clip, head=dict(gcn=dict(zero_init=False), bias=-1.0)).train()
    samples = [DataSample().set_gt_label([0]), DataSample().set_gt_label([])]
    inputs = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    data = model.data_preprocessor(dict(inputs=inputs, data_samples=samples), True)
    model(**data, mode="loss")["loss"].backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
