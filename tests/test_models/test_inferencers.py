"""MMPretrain's inferencers give the scores of the model that was trained."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.runner import Runner, load_checkpoint
from mmpretrain.apis import (
    FeatureExtractor,
    ImageClassificationInferencer,
    get_model,
    inference_model,
)
from mmpretrain.registry import MODELS, TRANSFORMS
from PIL import Image

CLASSES = ["dog", "cat", "tvmonitor"]
SIZES = [(240, 260), (300, 230), (224, 224), (250, 400)]


@pytest.fixture(scope="module", params=["vit_224", "resnet_224"])
def trained(request, clips, tmp_path_factory):
    """CAPNET after one epoch on four images of different sizes."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    lines = []
    for index, (height, width) in enumerate(SIZES):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{index}.png")
        lines.append(f"{index}.png {index % 3}")
    (root / "classes.txt").write_text("\n".join(CLASSES))
    for name in ("train", "val"):
        (root / f"{name}.txt").write_text("\n".join(lines))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAPNET_DATA_ROOT", str(root))
        patch.setenv("CAPNET_CLIP", clips[request.param])
        cfg = Config.fromfile(REPOSITORY / "configs/capnet_custom.py")
    for split in ("train", "val", "test"):
        cfg[f"{split}_dataloader"].update(
            batch_size=2, num_workers=0, persistent_workers=False
        )
    cfg.train_cfg.max_epochs = 1
    cfg.optim_wrapper.optimizer.lr = 0.1  # scores far from those at the start
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type != "ReportHook"]
    cfg.work_dir = str(root / "work")
    cfg.experiment_name = str(root)
    Runner.from_cfg(cfg).train()

    config = root / "config.py"
    cfg.dump(config)
    return SimpleNamespace(
        cfg=cfg,
        config=str(config),
        checkpoint=str(root / "work/epoch_1.pth"),
        images=[str(root / f"{index}.png") for index in range(len(SIZES))],
    )


@pytest.fixture(scope="module")
def by_hand(trained):
    """Features and logits of every image through the test pipeline."""
    model = MODELS.build(trained.cfg.model)
    untrained = model.head.prompt.context.clone()
    load_checkpoint(model.eval(), trained.checkpoint)
    assert not torch.equal(model.head.prompt.context, untrained)
    steps = trained.cfg.test_dataloader.dataset.pipeline
    pipeline = Compose([TRANSFORMS.build(step) for step in steps])
    data = pseudo_collate([pipeline(dict(img_path=path)) for path in trained.images])
    images = model.data_preprocessor(data)["inputs"]
    with torch.no_grad():
        features = model.backbone(images)[0]
        return features, model.head((features,))


def test_image_classification_inferencer(trained, by_hand):
    with pytest.warns(UserWarning) as told:
        inferencer = ImageClassificationInferencer(trained.config, trained.checkpoint)
    said = [str(each.message) for each in told if "single best" in str(each.message)]
    assert len(said) == 1 and "capnet_mm.apis.MultiLabelInferencer" in said[0]
    expected = by_hand[1].sigmoid().numpy()
    for batch_size in (1, 3):
        results = inferencer(trained.images, batch_size=batch_size)
        scores = np.stack([result["pred_scores"] for result in results])
        np.testing.assert_allclose(scores, expected, rtol=1e-5)
        best = [CLASSES[index] for index in expected.argmax(1)]
        assert [result["pred_class"] for result in results] == best


def test_pixels_in_place_of_a_path(trained, by_hand):
    inferencer = ImageClassificationInferencer(trained.config, trained.checkpoint)
    rgb = np.asarray(Image.open(trained.images[0]))
    scores = inferencer(rgb[:, :, ::-1])[0]["pred_scores"]  # BGR, as OpenCV reads
    np.testing.assert_allclose(scores, by_hand[1][0].sigmoid(), rtol=1e-5)


def test_feature_extractor(trained, by_hand):
    extractor = FeatureExtractor(trained.config, trained.checkpoint)
    features = torch.stack([stages[0] for stages in extractor(trained.images)])
    torch.testing.assert_close(features, by_hand[0])


def test_inference_model_says_in_one_sentence_what_to_use(trained):
    model = get_model(trained.config, trained.checkpoint)
    with pytest.raises(NotImplementedError, match="capnet_mm.apis.inference_model"):
        inference_model(model, trained.images[0])


def test_get_model_prints_no_list_of_weights(trained, capfd):
    get_model(trained.config, trained.checkpoint)
    lines = "".join(capfd.readouterr()).splitlines()
    assert [line for line in lines if not line.startswith("Loads checkpoint by")] == []


def test_get_model(trained, by_hand):
    model = get_model(trained.config, trained.checkpoint)
    assert not model.training
    with torch.no_grad():
        torch.testing.assert_close(model.head((by_hand[0],)), by_hand[1])
    assert list(model._dataset_meta["classes"]) == CLASSES


def test_predictions_bear_the_names_of_the_head_not_of_the_checkpoint(
    clips, trained, tmp_path
):
    """Hand-written prompts fit a checkpoint for other classes or another order."""

    def config_of(classes):
        head = dict(
            type="CorrelationPromptHead", classes=classes, prompt=None, gcn=None
        )
        model = dict(
            type="CLIPClassifier",
            clip=dict(model=clips["vit_224"]),
            backbone=dict(),
            head=head,
        )
        return Config(dict(model=model, test_dataloader=trained.cfg.test_dataloader))

    checkpoint = tmp_path / "checkpoint.pth"
    state = MODELS.build(config_of(CLASSES).model).state_dict()
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(state_dict=state, meta=meta), checkpoint)

    names = [
        ImageClassificationInferencer(config_of(classes), str(checkpoint))(
            trained.images[0]
        )[0]["pred_class"]
        for classes in (CLASSES, CLASSES[1:] + CLASSES[:1])
    ]
    assert names[0] == names[1]
    found = get_model(config_of(["a bus"]), str(checkpoint))._dataset_meta["classes"]
    assert list(found) == ["a bus"]
