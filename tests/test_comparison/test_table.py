import json
import math
import statistics

import pytest
from PIL import Image

from capnet_mm.comparison import runs as compare
from capnet_mm.comparison import table

from .conftest import UNTRAINED


def make_rows(plan, leaf, values):
    """A row for each list of totals; the tails are half of them."""
    rows = []
    for index, totals in enumerate(values):
        runs = plan(leaf(f"row_{index}", ""), seeds=range(len(totals)))
        columns = dict(
            total=tuple(totals),
            head=(math.nan,) * len(totals),
            medium=tuple(totals),
            tail=tuple(total / 2 for total in totals),
        )
        rows.append(table.ComparisonRow(f"row {index}", False, tuple(runs), columns))
    return rows


def test_cells_are_mean_and_sample_deviation_and_the_best_are_bold(plan, leaf):
    totals = [40.0, 50.0, 63.0]
    rows = make_rows(plan, leaf, [totals, [51.01], [50.96]])
    lines = table.comparison_table(rows).to_markdown().splitlines()
    mean, std = statistics.mean(totals), statistics.stdev(totals)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:5]]
    assert cells[0] == [
        "row 0",
        f"**{mean:.1f} ± {std:.1f}**",
        "–",
        f"**{mean:.1f} ± {std:.1f}**",
        f"**{mean / 2:.1f} ± {std / 2:.1f}**",
    ]
    # To the digit that is shown all three are 51.0; half of them are 25.5.
    assert cells[1] == ["row 1", "**51.0**", "–", "**51.0**", "**25.5**"]
    assert cells[2] == ["row 2", "**51.0**", "–", "**51.0**", "**25.5**"]
    assert table.best_rows(rows, "head") == set()
    worse = make_rows(plan, leaf, [[10.0], [20.0]])
    assert table.best_rows(worse, "tail") == {1}


def test_the_page_shows_the_table_and_the_figures_of_the_chosen_config(
    plan, config, leaf, tmp_path
):
    runs = plan(config, f"{leaf('second', '')}=<second>", leaf("third", UNTRAINED))
    classes = [dict(group=group) for group in ("head", "tail", "tail")]
    for index, run in enumerate(runs):
        compare.write_record(run, training_seconds=60.0 * index)
        run.metrics_file(tta=False).write_text(
            json.dumps({"multi-label/mAP": 10.0 * index})
        )
        if run.trains:
            report = run.folder / "report"
            report.mkdir()
            for theme, gray in (("", 250), ("_dark", 5)):
                image = Image.new("RGB", (8, 8), (index, gray, gray))
                image.save(report / f"per_class_ap{theme}.png")
            (report / "report.json").write_text(json.dumps(dict(classes=classes)))

    rows = table.read_rows(runs)
    chosen, _ = table.choose_report(rows, None)
    assert chosen.label == "<second>"  # the last one that has figures
    table.write_comparison(tmp_path, rows, "the command", config)
    page = (tmp_path / "report.html").read_text()
    assert "A closer look at tiny" in page
    assert "1 head, 0 medium, 2 tail" in page
    assert page.count("data:image/png") == 2  # light and dark
    assert "&lt;second&gt;" in page and "<second>" not in page
    assert "<strong>20.0</strong>" in page
    assert "the command" in page
    with pytest.raises(ValueError, match="--images .*third.py"):
        table.write_comparison(tmp_path, rows, "", runs[2].config)


def test_scores_without_map_are_refused(plan):
    (run,) = plan()
    run.folder.mkdir(parents=True)
    run.metrics_file(tta=False).write_text('{"accuracy/top1": 1.0}')
    with pytest.raises(ValueError, match="LongTailMAP"):
        table.read_rows([run])
