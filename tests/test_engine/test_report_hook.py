"""ReportHook in real runs: what it leaves, of which evaluation, and when not."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from PIL import Image
from sklearn.metrics import average_precision_score

import capnet_mm.engine.hooks.report_hook as module
from capnet_mm.engine import ReportHook
from capnet_mm.engine.unwrap import unwrap_model

CLASSES = ("red", "green", "blue")
LABELS = [[0], [0, 1], [1], [0], [2], [0, 2], [], [1, 0], [2], [0]]
PIPELINE = [dict(type="LoadImage"), dict(type="PackInputs")]
TTA_PIPELINE = [
    dict(type="LoadImage"),
    dict(
        type="TestTimeAug",
        transforms=[
            [dict(type="RandomFlip", prob=0.0), dict(type="RandomFlip", prob=1.0)],
            [dict(type="PackInputs")],
        ],
    ),
]
PNGS = ("per_class_ap", "label_graph", "training_curves", "predictions")


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    """Ten images in a colour for each of their labels, no two of them alike."""
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for index, labels in enumerate(LABELS):
        pixels = np.zeros((32, 48, 3), np.uint8)
        pixels[..., labels] = 200
        pixels[1:] += random.integers(0, 50, (31, 48, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"{index}.png")
    lines = [
        " ".join([f"{i}.png", *map(str, labels)]) for i, labels in enumerate(LABELS)
    ]
    (root / "list.txt").write_text("\n".join(lines))
    return root


def head(clip=None, **options):
    if clip is None:
        loss = dict(type="CrossEntropyLoss", use_sigmoid=True)
        return dict(
            type="MultiLabelLinearClsHead", num_classes=3, in_channels=1280, loss=loss
        )
    return dict(
        type="CorrelationPromptHead",
        classes=CLASSES,
        text_encoder=dict(model=clip, pretrained=None),
        in_channels=1280,
        prompt=dict(num_context=2),
        graph=dict(topk=2),
        loss=dict(type="CrossEntropyLoss", use_sigmoid=True),
        **options,
    )


@pytest.fixture
def run(tmp_path, data_root):
    """Builds a runner with ReportHook and a tiny classifier."""
    init_default_scope("mmpretrain")
    number = iter(range(1000))

    def make(
        clip=None,
        tta=False,
        metric=None,
        epochs=1,
        val_interval=1,
        hooks=(),
        validate=True,
        work_dir=None,
        dataset=None,
        pooling=None,
        **options,
    ):
        model = dict(
            type="ImageClassifier",
            data_preprocessor=dict(num_classes=3, to_rgb=True),
            backbone=dict(type="MobileNetV2", widen_factor=0.1, norm_eval=True),
            neck=dict(type="GlobalAveragePooling"),
            head=head(clip),
        )
        if pooling is not None:
            model.update(neck=None, head=head(clip, pooling=pooling))
        if tta:
            model = dict(type="TestTimeEnsemble", average="probabilities", module=model)
        dataset = dataset or dict(
            type="ImageListDataset",
            ann_file="list.txt",
            classes=CLASSES,
            data_root=str(data_root),
        )

        def loader(pipeline, shuffle=False, **more):
            return dict(
                batch_size=4,
                sampler=dict(type="DefaultSampler", shuffle=shuffle),
                collate_fn=dict(type="default_collate"),
                dataset=dict(dataset, pipeline=pipeline, **more),
            )

        evaluated = loader(TTA_PIPELINE if tta else PIPELINE, train_ann_file="list.txt")
        if dataset["type"] != "ImageListDataset":
            evaluated = loader(PIPELINE)
        metric = metric or dict(type="LongTailMAP")
        if validate:
            options.update(
                val_dataloader=evaluated, val_cfg=dict(), val_evaluator=metric
            )
        return Runner(
            model,
            str(work_dir or tmp_path / "work"),
            train_dataloader=loader(PIPELINE, shuffle=True),
            train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=val_interval),
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.01)),
            test_dataloader=evaluated,
            test_cfg=dict(),
            test_evaluator=metric,
            default_hooks=dict(
                logger=dict(type="LoggerHook", interval=1),
                checkpoint=dict(type="CheckpointHook", interval=1),
            ),
            custom_hooks=[*hooks, dict(type="ReportHook", num_images=4)],
            visualizer=dict(
                type="UniversalVisualizer",
                vis_backends=[dict(type="LocalVisBackend")],
            ),
            randomness=dict(seed=1),
            experiment_name=f"report{id(make)}_{next(number)}",
            default_scope="mmpretrain",
            **options,
        )

    return make


def folder(runner):
    return Path(runner.work_dir, "report")


def numbers(runner):
    return json.loads((folder(runner) / "report.json").read_text())


def written(runner):
    return sorted(path.name for path in folder(runner).iterdir())


def expected_files(*figures):
    """What a report with these figures consists of, each of them light and dark."""
    pngs = [f"{name}{theme}.png" for name in figures for theme in ("", "_dark")]
    return sorted(["report.html", "report.json", *pngs])


def is_drawn(path):
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    return len(np.unique(pixels, axis=0)) > 20


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """What the reports were composed of, newest last."""
    reports = []
    compose = module.report_files

    def keep(report):
        reports.append(report)
        return compose(report)

    monkeypatch.setattr(module, "report_files", keep)
    return reports


def test_training_leaves_the_report_of_the_last_validation(run, tiny_clip, drawn):
    runner = run(clip=tiny_clip, epochs=3, val_interval=2)
    runner.train()
    assert written(runner) == expected_files(*PNGS)
    for name in PNGS:
        assert is_drawn(folder(runner) / f"{name}.png"), name
    content = numbers(runner)
    assert (content["phase"], content["epoch"]) == ("val", 3)
    assert content["tta"] is False

    # The same model, evaluated by hand on the same batches.
    model = runner.model.eval()
    with torch.no_grad():
        outputs = [o for batch in runner.val_dataloader for o in model.val_step(batch)]
    logits = np.array([output.pred_logits.numpy() for output in outputs])
    scores = 1 / (1 + np.exp(-logits))
    targets = np.array([[c in labels for c in range(3)] for labels in LABELS])
    for column, entry in enumerate(content["classes"]):
        assert entry["name"] == CLASSES[column]
        assert (
            entry["train_count"] == entry["num_positives"] == targets[:, column].sum()
        )
        assert entry["group"] == "tail"
        assert entry["average_precision"] == pytest.approx(
            100 * average_precision_score(targets[:, column], logits[:, column])
        )
    mean = np.mean([entry["average_precision"] for entry in content["classes"]])
    assert content["metrics"]["multi-label/mAP"] == pytest.approx(mean)
    assert content["metrics"]["multi-label/mAP_head"] is None  # NaN is no JSON

    # Four images from the middles of four parts of ten: 1, 3, 6, 8.
    (report,) = drawn
    for prediction, index in zip(report.predictions, (1, 3, 6, 8), strict=True):
        np.testing.assert_allclose(prediction.scores, scores[index], atol=1e-6)
        assert prediction.targets.tolist() == targets[index].tolist()
        assert prediction.image.shape == (32, 48, 3)
        expected = [200 * (c in LABELS[index]) for c in range(3)]
        assert prediction.image[0, 0].tolist() == expected


def test_the_graph_is_the_models_between_the_classes_by_count(run, tiny_clip, drawn):
    runner = run(clip=tiny_clip)
    runner.train()
    graph = drawn[0].graph
    counts = [sum(c in labels for labels in LABELS) for c in range(3)]
    order = sorted(range(3), key=lambda c: -counts[c])
    assert graph.names == [CLASSES[c] for c in order]
    assert (graph.num_classes, graph.is_by_count) == (3, True)
    model = runner.model
    text = model.head.text_encoder.encode_text(
        [f"a photo of a {n}." for n in graph.names]
    )
    text = torch.nn.functional.normalize(text, dim=-1)
    np.testing.assert_allclose(graph.similarity, text @ text.T, atol=1e-5)
    adjacency = model.head.graph.adjacency.numpy()
    np.testing.assert_allclose(graph.adjacency, adjacency[np.ix_(order, order)])


def test_the_page_holds_the_figures_that_lie_beside_it(run, tiny_clip):
    runner = run(clip=tiny_clip)
    runner.train()
    page = (folder(runner) / "report.html").read_text()
    embedded = re.findall(r'<img src="data:image/png;base64,([^"]+)"', page)
    beside = {(folder(runner) / f"{name}.png").read_bytes() for name in PNGS}
    assert {base64.b64decode(content) for content in embedded} == beside
    dark = re.findall(r'srcset="data:image/png;base64,([^"]+)"', page)
    assert len(dark) == 4
    for content in dark:
        image = Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")
        assert image.getpixel((image.width - 1, image.height - 1)) == (20, 23, 28)


def test_a_test_replaces_the_report_and_names_epoch_and_views(run, tmp_path):
    run(epochs=2).train()
    checkpoint = str(tmp_path / "work" / "epoch_2.pth")
    runner = run(tta=True, load_from=checkpoint)
    metrics = runner.test()
    content = numbers(runner)
    assert (content["phase"], content["epoch"], content["tta"]) == ("test", 2, True)
    assert content["metrics"]["multi-label/mAP"] == metrics["multi-label/mAP"]
    # No label graph in this head; the curves are those of the training.
    assert written(runner) == expected_files(
        "per_class_ap", "predictions", "training_curves"
    )
    page = (folder(runner) / "report.html").read_text()
    assert "averaged over several views" in page and "Label graph" not in page


def test_under_tta_the_images_have_the_merged_scores(run, drawn):
    runner = run(tta=True)
    runner.test()
    model = runner.model.module.eval()
    for prediction, index in zip(drawn[0].predictions, (1, 3, 6, 8), strict=True):
        views = runner.test_dataloader.dataset[index]["inputs"]
        with torch.no_grad():
            outputs = [
                model.val_step(dict(inputs=[view], data_samples=[DataSample()]))
                for view in views
            ]
        mean = np.mean([output[0].pred_score.numpy() for output in outputs], axis=0)
        np.testing.assert_allclose(prediction.scores, mean, atol=1e-5)


@pytest.mark.parametrize("tta", [False, True])
def test_local_pooling_leaves_class_maps_of_what_the_model_has_seen(
    run, tiny_clip, drawn, tta
):
    runner = run(clip=tiny_clip, tta=tta, pooling=dict(temperature=0.1))
    runner.test()
    assert is_drawn(folder(runner) / "class_maps.png")
    model = unwrap_model(runner.model).eval()
    for prediction, index in zip(drawn[0].predictions, (1, 3, 6, 8), strict=True):
        sample = runner.test_dataloader.dataset[index]
        view = sample["inputs"][0] if tta else sample["inputs"]
        np.testing.assert_array_equal(prediction.view, view.flip(0).permute(1, 2, 0))
        order = np.argsort(-prediction.scores, kind="stable")
        assert list(prediction.maps) == order.tolist()
        with torch.no_grad():
            inputs = model.data_preprocessor(dict(inputs=[view]))["inputs"]
            cosines, _ = model.head.class_activation_maps(model.backbone(inputs))
        shares = (cosines[0].flatten(1) / 0.1).softmax(1).reshape(cosines[0].shape)
        for label, heat in prediction.maps.items():
            np.testing.assert_allclose(heat, shares[label], atol=1e-5)


def test_a_resumed_training_has_the_curves_of_all_its_runs(run, drawn, monkeypatch):
    run(epochs=1).train()
    monkeypatch.setattr(
        module, "report_files", lambda report: drawn.append(report) or {}
    )
    # A run of its own has a start time of its own, in whole seconds.
    runner = run(epochs=2, resume=True)
    runner._timestamp = "29991231_235959"
    runner.visualizer._vis_backends["LocalVisBackend"]._save_dir = str(
        Path(runner.work_dir, runner._timestamp, "vis_data")
    )
    runner.train()
    steps, losses = drawn[-1].curves.losses["loss"]
    assert steps == [1, 2, 3, 4, 5, 6]  # ten images in batches of four, twice
    epochs, scores = drawn[-1].curves.scores["multi-label/mAP"]
    assert epochs == [1, 2]


def test_a_training_that_was_complete_leaves_the_report_as_it_is(run, drawn):
    runner = run()
    runner.train()
    before = (folder(runner) / "report.html").read_bytes()
    run(resume=True).train()
    assert len(drawn) == 1
    assert (folder(runner) / "report.html").read_bytes() == before


def test_without_validation_there_are_curves_only(run):
    runner = run(validate=False)
    runner.train()
    assert written(runner) == expected_files("training_curves")
    content = numbers(runner)
    assert (content["phase"], content["epoch"], content["classes"]) == (None, None, [])


def test_another_metric_gives_a_report_without_classes(run):
    runner = run(metric=dict(type="MultiLabelMetric", average="macro"))
    metrics = runner.test()
    assert written(runner) == expected_files("predictions")
    content = numbers(runner)
    assert content["classes"] == []
    assert content["metrics"] == pytest.approx(metrics)
    page = (folder(runner) / "report.html").read_text()
    assert "f1-score" in page


class Unwritten(torch.utils.data.Dataset):
    """Images in memory, without a path, of one class each."""

    metainfo = dict(classes=CLASSES)

    def __init__(self, pipeline):
        pass

    def __len__(self):
        return 6

    def __getitem__(self, index):
        inputs = torch.zeros(3, 32, 32, dtype=torch.uint8)
        inputs[2 - index % 3] = 200  # BGR, as pipelines give them
        sample = DataSample().set_gt_label([index % 3])
        return dict(inputs=inputs, data_samples=sample)


def test_images_without_a_file_are_what_the_model_has_seen(run, drawn):
    from mmpretrain.registry import DATASETS

    DATASETS.register_module(module=Unwritten, force=True)
    run(dataset=dict(type="Unwritten"), metric=dict(type="MultiLabelMetric")).test()
    for prediction in drawn[0].predictions:
        color = prediction.image[0, 0].tolist()
        assert [value / 200 for value in color] == prediction.targets.tolist()


@pytest.mark.parametrize(
    "error, message",
    [
        (OSError(28, "No space left on device"), "could not be written .*No space"),
        (RuntimeError("a defect"), "a defect of ReportHook"),
    ],
)
def test_a_report_that_fails_breaks_no_run_and_leaves_the_old_one(
    run, monkeypatch, read_log, error, message
):
    runner = run()
    runner.train()
    before = {p.name: p.read_bytes() for p in folder(runner).iterdir()}

    def fail(*args):
        raise error

    monkeypatch.setattr(module, "replace_files", fail)
    runner = run(load_from=str(Path(runner.work_dir, "epoch_1.pth")))
    assert "multi-label/mAP" in runner.test()
    log = read_log(runner)
    assert re.search(message, log)
    assert "ERROR" in log
    assert {p.name: p.read_bytes() for p in folder(runner).iterdir()} == before


def test_what_an_earlier_report_had_and_this_one_has_not_is_removed(run):
    runner = run()
    folder(runner).mkdir(parents=True)
    (folder(runner) / "label_graph.png").write_text("old")
    (folder(runner) / "mine.txt").write_text("mine")
    runner.test()
    assert "label_graph.png" not in written(runner)
    assert "mine.txt" in written(runner)


def test_models_that_predict_no_classes_are_left_alone(make_runner, toy):
    runner = make_runner([ReportHook()], validate=True)
    runner.train()
    assert written(runner) == expected_files("training_curves")
    assert numbers(runner)["metrics"]["toy/per_class"] == [0, 1, 2]


def test_several_processes_share_the_images_out(monkeypatch):
    hooks = [ReportHook(num_images=4) for _ in range(3)]
    loader = torch.utils.data.DataLoader(list(range(10)), batch_size=2)
    runner = type("Runner", (), dict(model=torch.nn.Identity()))()
    for rank, hook in enumerate(hooks):
        monkeypatch.setattr(module, "get_dist_info", lambda rank=rank: (rank, 3))
        hook._choose_images(loader)
        # As DefaultSampler deals them out; the last ones are repeats.
        mine = [*range(10), 0, 1][rank::3]
        for start in range(0, 4, 2):
            outputs = [
                DataSample().set_pred_score([index / 10, 0]).set_gt_label([1])
                for index in mine[start : start + 2]
            ]
            hook._collect(runner, dict(inputs=[None, None]), outputs)
    gathered = [hook._samples for hook in hooks]
    monkeypatch.setattr(module, "all_gather_object", lambda own: gathered)
    evaluator = Evaluator([])
    hooks[0]._keep_results("val", 1, {}, evaluator, loader.dataset)
    samples = hooks[0]._report["samples"]
    assert [sample["index"] for sample in samples] == [1, 3, 6, 8]
    assert [float(s["scores"][0]) for s in samples] == pytest.approx(
        [0.1, 0.3, 0.6, 0.8]
    )


def test_a_negative_number_of_images_is_refused():
    with pytest.raises(ValueError, match="num_images=-1"):
        ReportHook(num_images=-1)
