from capnet_mm.engine import SkippedImagesHook


def skipping(toy, by_epoch):
    """A dataset whose list of skipped images grows as ``by_epoch`` says."""

    class Skipping(toy.Dataset):
        passes = 0

        def __getitem__(self, index):
            self.passes += index == 11
            return super().__getitem__(index)

        @property
        def skipped_images(self):
            return by_epoch[: self.passes]

    return Skipping()


def test_skipped_images_are_counted_and_named_when_there_are_new_ones(
    make_runner, toy, read_log
):
    dataset = skipping(toy, ["a.jpg", "b.jpg"])
    runner = make_runner([SkippedImagesHook()], dataset=dataset, epochs=4)
    runner.train()
    lines = [line for line in read_log(runner).splitlines() if "corrupt" in line]
    assert len(lines) == 2
    assert lines[0].endswith("1 corrupt image(s) left out of training so far: a.jpg.")
    assert lines[1].endswith(
        "2 corrupt image(s) left out of training so far: a.jpg, b.jpg."
    )


def test_a_long_list_of_skipped_images_is_cut(make_runner, toy, read_log):
    dataset = skipping(toy, [])
    type(dataset).skipped_images = [f"{i}.jpg" for i in range(10, 15)]
    runner = make_runner([SkippedImagesHook(max_names=2)], dataset=dataset, epochs=1)
    runner.train()
    assert "5 corrupt image(s)" in read_log(runner)
    assert "10.jpg, 11.jpg and 3 more." in read_log(runner)


def test_nothing_is_said_without_skipped_images(make_runner, toy, read_log):
    for dataset in (skipping(toy, []), toy.Dataset()):
        runner = make_runner([SkippedImagesHook()], dataset=dataset, epochs=1)
        runner.train()
        assert "corrupt" not in read_log(runner)


def test_skipped_images_are_found_in_concatenated_datasets(make_runner, toy, read_log):
    class Wrapped(toy.Dataset):
        def __init__(self):
            super().__init__()
            self.datasets = [toy.Dataset(), skipping(toy, [])]
            type(self.datasets[1]).skipped_images = ["deep.jpg"]

    runner = make_runner([SkippedImagesHook()], dataset=Wrapped(), epochs=1)
    runner.train()
    assert "deep.jpg" in read_log(runner)
