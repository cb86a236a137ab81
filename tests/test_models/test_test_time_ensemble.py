import pytest
import torch
from mmengine.model import BaseModel
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from capnet_mm.models import CLIPClassifier, TestTimeEnsemble

NAMES = ["dog", "cat", "tv"]


@pytest.fixture
def module(tiny_clip):
    torch.manual_seed(0)
    return CLIPClassifier(
        clip=dict(model=tiny_clip),
        backbone=dict(),
        head=dict(classes=NAMES, loss=dict(type="CrossEntropyLoss", use_sigmoid=True)),
    )


def views(num_views=5, batch=2):
    """A batch as the data loader gives it: for each view the batch's images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (num_views, batch, 3, 32, 32), generator=generator)
    samples = [
        [DataSample().set_gt_label([0]) for _ in range(batch)] for _ in range(num_views)
    ]
    return dict(inputs=list(images.to(torch.uint8)), data_samples=samples)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_ensemble_is_the_mean_over_views(module, average):
    ensemble = TestTimeEnsemble(module, average=average).eval()
    data = views()
    with torch.no_grad():
        merged = ensemble.test_step(data)
        logits = torch.stack(
            [
                torch.stack(
                    [
                        sample.pred_logits
                        for sample in module.test_step(
                            dict(
                                inputs=images, data_samples=[DataSample(), DataSample()]
                            )
                        )
                    ]
                )
                for images in data["inputs"]
            ]
        )
    if average == "logits":
        expected = logits.mean(0).sigmoid()
    else:
        expected = logits.sigmoid().mean(0)
    for sample, score in zip(merged, expected, strict=True):
        torch.testing.assert_close(sample.pred_score, score)
        torch.testing.assert_close(sample.pred_logits, score.logit())
        assert torch.equal(sample.pred_label, (score >= 0.5).nonzero().flatten())
        assert torch.equal(sample.gt_label, torch.tensor([0]))


def test_heads_without_logits_can_average_probabilities(tiny_clip):
    model = CLIPClassifier(
        clip=dict(model=tiny_clip),
        backbone=dict(),
        head=dict(type="MultiLabelLinearClsHead", num_classes=3, in_channels=16),
    ).eval()
    with torch.no_grad():
        merged = TestTimeEnsemble(model, average="probabilities").test_step(views())
        assert merged[0].pred_score.shape == (3,)
        with pytest.raises(ValueError, match="average='probabilities'"):
            TestTimeEnsemble(model).test_step(views())


def test_unknown_average_is_refused(module):
    with pytest.raises(ValueError, match="'logits' or 'probabilities'"):
        MODELS.build(dict(type="TestTimeEnsemble", module=module, average="max"))


def test_batches_of_nothing_are_refused(module):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        TestTimeEnsemble(module, max_batch_size=0)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_state_dicts_of_the_model_are_loaded_strictly(tiny_clip, prefix):
    """As MMPretrain's EMAHook loads, with PyTorch and ``module.`` ahead of all."""
    head = dict(type="MultiLabelLinearClsHead", num_classes=3, in_channels=16)
    trained = classifier(tiny_clip, head)
    trained.head.fc.weight.data.fill_(7)
    state = {f"module.{prefix}{k}": v for k, v in trained.state_dict().items()}
    ensemble = TestTimeEnsemble(classifier(tiny_clip, head), average="probabilities")
    torch.nn.ModuleDict(dict(module=ensemble)).load_state_dict(state)
    assert (ensemble.module.head.fc.weight == 7).all()


def count_batches(module):
    sizes = []
    module.backbone.register_forward_hook(lambda _, x, y: sizes.append(len(x[0])))
    return sizes


def test_views_of_one_size_are_one_batch_with_the_loops_result(module):
    sizes = count_batches(module)
    with torch.no_grad():
        batched = TestTimeEnsemble(module).eval().test_step(views())
        assert sizes == [10]
        looped = TestTimeEnsemble(module, max_batch_size=1).eval().test_step(views())
        assert sizes == [10] + [1] * 10
        parts = TestTimeEnsemble(module, max_batch_size=4).eval().test_step(views())
        assert sizes[11:] == [4, 4, 2]
    for one, other in zip(batched * 2, looped + parts, strict=True):
        torch.testing.assert_close(one.pred_logits, other.pred_logits)
        torch.testing.assert_close(one.pred_score, other.pred_score)
        assert torch.equal(one.pred_label, other.pred_label)


def classifier(clip, head):
    torch.manual_seed(0)
    options = dict(clip=dict(model=clip), backbone=dict(), head=head)
    return CLIPClassifier(**options).eval()


@pytest.mark.parametrize("type_", ["LinearClsHead", "MultiLabelLinearClsHead"])
def test_mean_probabilities_are_the_scores_of_softmax_and_sigmoid_heads(
    tiny_clip, type_
):
    model = classifier(tiny_clip, dict(type=type_, num_classes=3, in_channels=16))
    model.head.fc.weight.data.mul_(30)  # views that differ, and scores far from 1/2
    data = views()
    with torch.no_grad():
        merged = TestTimeEnsemble(model, average="probabilities").test_step(data)
        features = model.extract_feat(
            model.data_preprocessor(dict(inputs=torch.cat(data["inputs"])))["inputs"]
        )
        logits = model.head.fc(features[-1]).double()
    one_label = type_ == "LinearClsHead"
    probabilities = logits.softmax(-1) if one_label else logits.sigmoid()
    expected = probabilities.reshape(5, 2, 3).mean(0)
    scores = torch.stack([sample.pred_score for sample in merged]).double()
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-6)
    for sample, score in zip(merged, expected, strict=True):
        labels = score.argmax()[None] if one_label else (score >= 0.5).nonzero()[:, 0]
        assert torch.equal(sample.pred_label, labels)


@pytest.mark.parametrize(
    ("head", "name"),
    [(torch.nn.Linear(2, 2), "Linear"), (None, "NoneType")],
)
def test_probabilities_of_other_heads_are_refused(head, name):
    model = SumOfPixels()
    model.head = head
    with pytest.raises(ValueError, match=f"sigmoid .* softmax .* got {name}"):
        TestTimeEnsemble(model, average="probabilities")


class SumOfPixels(BaseModel):
    """Sees how much an image was padded, and which image it was."""

    def __init__(self):
        super().__init__(MODELS.build(dict(type="ClsDataPreprocessor", pad_value=1)))
        self.head = MultiLabelClsHead()
        self.seen = []

    def forward(self, inputs, data_samples=None, mode="predict"):
        self.seen.append(tuple(inputs.shape))
        for image, sample in zip(inputs, data_samples, strict=True):
            sample.set_pred_score(image.sum()[None] / 1e4)
        return data_samples


def random_image(height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = (3, height, width)
    return torch.randint(0, 256, shape, generator=generator).to(torch.uint8)


def two_views(shapes):
    """A batch of images of these heights and widths: two views of each."""
    seeds = range(2 * len(shapes))
    images = [random_image(*shapes[s // 2], seed=s) for s in seeds]
    samples = [[DataSample() for _ in shapes] for _ in range(2)]
    return dict(inputs=[images[::2], images[1::2]], data_samples=samples)


SHAPES = [(32, 48), (48, 32), (32, 48), (32, 32)]


def test_no_image_is_padded_and_equal_shapes_are_one_batch():
    model = SumOfPixels()
    TestTimeEnsemble(model, average="probabilities").test_step(two_views(SHAPES))
    assert model.seen == [(4, 3, 32, 48), (2, 3, 48, 32), (2, 3, 32, 32)]
    model.seen.clear()
    ensemble = TestTimeEnsemble(model, average="probabilities", max_batch_size=3)
    ensemble.test_step(two_views(SHAPES))
    assert [shape[0] for shape in model.seen] == [3, 1, 2, 2]


def test_scores_of_images_of_many_shapes_are_those_of_each_image_alone(clips):
    loss = dict(type="CrossEntropyLoss", use_sigmoid=True)
    model = classifier(clips["timm"], dict(classes=NAMES, loss=loss))
    data = two_views(SHAPES)
    with torch.no_grad():
        merged = TestTimeEnsemble(model).test_step(data)

        def logits(image):
            one = dict(inputs=image[None], data_samples=[DataSample()])
            return model.test_step(one)[0].pred_logits

        for index, sample in enumerate(merged):
            images = [view[index] for view in data["inputs"]]
            expected = (logits(images[0]) + logits(images[1])) / 2
            torch.testing.assert_close(sample.pred_logits, expected)
        # Padding to the batch's largest would be seen.
        padded = model.test_step({key: view[0] for key, view in data.items()})
    assert not torch.allclose(
        padded[0].pred_logits, logits(data["inputs"][0][0]), atol=1e-3
    )


@pytest.mark.parametrize(
    ("tower", "size"), [("vit", 32), ("resnet", 64), ("timm_vit", 224)]
)
def test_towers_of_one_image_size_say_what_to_do_with_another(clips, tower, size):
    loss = dict(type="CrossEntropyLoss", use_sigmoid=True)
    model = classifier(clips[tower], dict(classes=NAMES, loss=loss))
    # The second has as many patches as the vit's own size, in other places.
    for height, width in [(size, size + 16), (size // 2, size * 2)]:
        message = rf"{size} x {size} .* got {height} x {width}: add a crop .*CenterCrop"
        with pytest.raises(ValueError, match=message), torch.no_grad():
            TestTimeEnsemble(model).test_step(two_views([(height, width)]))
