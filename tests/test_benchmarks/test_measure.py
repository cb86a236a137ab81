import json
import math

import pytest
import torch

from benchmarks.measure import (
    Measurement,
    Timing,
    count_flops,
    device_name,
    interleave,
    max_difference,
    paired_ratio,
    peak_memory,
    to_markdown,
    write_json,
)


def test_variants_run_in_turns_after_warming_up():
    calls = []
    variants = {name: (lambda name=name: calls.append(name)) for name in "AB"}
    timings = interleave(variants, rounds=3, warmup=1)
    assert "".join(calls) == "AB" + "ABABAB"
    assert {name: len(t.seconds) for name, t in timings.items()} == {"A": 3, "B": 3}
    with pytest.raises(ValueError, match="rounds"):
        interleave(variants, rounds=0)


def test_time_is_the_clocks_difference(monkeypatch):
    clock = iter([0.0, 1.0, 10.0, 13.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    timings = interleave({"A": int, "B": int}, rounds=1, warmup=0)
    assert timings == {"A": Timing((1.0,)), "B": Timing((3.0,))}


def test_median_spread_and_ratio():
    a, b = Timing((1.0, 2.0, 9.0, 4.0, 3.0)), Timing((1.0, 1.0, 3.0, 1.0, 1.0))
    assert a.median == 3.0
    assert a.spread == 2.0  # quartiles 2 and 4
    assert Timing((5.0,)).spread == 0
    # Round by round: 1, 2, 3, 4, 3; a slow round slows both.
    assert paired_ratio(a, b).median == 3.0
    assert paired_ratio(a, b).spread == 1.0


def test_peak_memory_counts_what_is_held_at_once():
    size = 250_000  # 1 MB of float32

    def three_in_turns():
        for _ in range(3):
            torch.ones(size)

    def two_at_once():
        one = torch.ones(size)
        return one.relu()

    assert peak_memory(three_in_turns) == 1_000_000
    assert peak_memory(two_at_once) == 2_000_000


def test_peak_memory_counts_what_autograd_keeps():
    x = torch.randn(250_000, requires_grad=True)

    def forward_backward(layers):
        y = x
        for _ in range(layers):
            y = y.tanh()  # keeps its output
        y.sum().backward()
        x.grad = None

    deeper = peak_memory(lambda: forward_backward(12))
    assert deeper - peak_memory(lambda: forward_backward(2)) == 10_000_000


def test_flops_of_a_product_are_counted_twice():
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    assert count_flops(lambda: a @ b) == 2 * 3 * 5 * 7


def test_largest_difference():
    ours = [torch.tensor([1.0, 2.0]), torch.tensor(3.0)]
    theirs = [torch.tensor([1.0, 2.5]), torch.tensor(2.0)]
    assert max_difference(ours, theirs) == 1.0


ROW = Measurement(
    what="work",
    device="cpu",
    timings={"A": Timing((1.0, 2.0, 3.0)), "B": Timing((0.5,))},
    figure="2.0× faster",
    target="≥ 1.5×",
    met=True,
    peak_bytes={"A": 3 * 2**20},
    max_difference=2.5e-7,
)


def test_rows_are_a_markdown_table():
    header, rule, row, other = to_markdown(
        [ROW, Measurement("more", "none")]
    ).splitlines()
    assert header.count("|") == rule.count("|") == row.count("|") == other.count("|")
    for part in ("A 2 ± 0.5", "B 0.5", "2.0× faster", "(met)", "A 3 MiB", "2.5e-07"):
        assert part in row


def test_rows_are_written_with_what_they_depend_on(tmp_path):
    path = tmp_path / "rows.json"
    write_json(path, [ROW])
    content = json.loads(path.read_text())
    assert content["environment"]["torch"] == torch.__version__
    assert content["rows"][0]["timings"]["A"]["seconds"] == [1.0, 2.0, 3.0]
    assert content["rows"][0]["timings"]["A"]["median"] == 2.0
    assert content["rows"][0]["met"] is True
    assert math.isclose(content["rows"][0]["max_difference"], 2.5e-7)


def test_device_names_the_threads():
    assert device_name("cpu") == f"cpu, {torch.get_num_threads()} threads"
