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
        assert sizes == [10] + [2] * 5
        parts = TestTimeEnsemble(module, max_batch_size=5).eval().test_step(views())
        assert sizes[6:] == [4, 4, 2]
    for one, other in zip(batched * 2, looped + parts, strict=True):
        torch.testing.assert_close(one.pred_logits, other.pred_logits)
        torch.testing.assert_close(one.pred_score, other.pred_score)
        assert torch.equal(one.pred_label, other.pred_label)


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


def test_views_of_other_sizes_are_padded_as_in_the_loop():
    generator = torch.Generator().manual_seed(0)

    def image(height, width):
        shape = (3, height, width)
        return torch.randint(0, 9, shape, generator=generator).to(torch.uint8)

    inputs = [
        [image(8, 8), image(8, 6)],
        [image(4, 4), image(4, 4)],
        [image(8, 8), image(8, 6)],
        [image(8, 6), image(8, 6)],
    ]
    results = []
    for max_batch_size, calls in ((256, 3), (1, 4)):
        model = SumOfPixels()
        samples = [[DataSample() for _ in view] for view in inputs]
        ensemble = TestTimeEnsemble(
            model, average="probabilities", max_batch_size=max_batch_size
        )
        merged = ensemble.test_step(dict(inputs=inputs, data_samples=samples))
        results.append(torch.cat([sample.pred_score for sample in merged]))
        assert len(model.seen) == calls
    torch.testing.assert_close(*results)
    assert results[0][0] != results[0][1]
