"""What is committed of results: drawn from runs, said on pages, put in place all at once."""

from __future__ import annotations

import shutil
from dataclasses import replace
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
from tiny import tiny_lab

from labkit.course import published
from labkit.errors import LabError
from labkit.experiments import committed, targets
from labkit.experiments.trainings import make
from labkit.figures.paper import TABLES_AND_FIGURES
from labkit.figures.style import caption_in, records_folder
from labkit.runs import RunStore

PAGE = ("Depth beats RGB by <!--= table2:1 - table2:2 -->?<!--/--> and has <!--= table2:1 -->?<!--/-->; of "
        "<!--= claims -->?<!--/--> claims <!--= claims undecided -->?<!--/--> are open.\n")  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A lab with two seeds of row 1 and one of row 2."""
    lab = tiny_lab(tmp_path_factory.mktemp("trained"), epochs=1)
    lab.split.name = "cross-subject"
    for name, seed in (("depth", 0), ("rgb", 0), ("depth", 1)):
        make(name, lab.with_seed(seed))
    return lab


@pytest.fixture
def home(tmp_path, monkeypatch, trained):
    """A project with its pages, whose results the lab's runs are."""
    lab = replace(trained, runs=RunStore(tmp_path / "runs"))
    shutil.copytree(trained.runs.root, lab.runs.root)
    for page in published.PAGES:
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / page).write_text(PAGE + "<!-- rows -->\n<!-- /rows -->\n", encoding="utf-8")
    chosen = {name: TABLES_AND_FIGURES[name] for name in ("table1", "claims")}
    monkeypatch.setattr(published.paper, "TABLES_AND_FIGURES", chosen)
    one = SimpleNamespace(protocols=("cross-subject",), divides=lambda *_: True, split=lambda *_: lab.split)
    monkeypatch.setattr(published, "PUPPETS", one)
    return tmp_path, lab


def test_pages_figures_and_notebooks_come_from_one_set_of_runs(home):
    base, lab = home
    (base / "figures").mkdir()
    (base / "figures" / "stale.csv").touch()
    cell = nbformat.v4.new_code_cell("1 + 1", id="00-01")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), base / "00_a.ipynb")
    with committed.being_made():
        pages = published.draw([lab], base)
        cell.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=7)]
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), records_folder(lab) / "00_a.ipynb")
        assert (base / "figures" / "stale.csv").exists(), "nothing is replaced yet"
        published.put(lab, base, [base / "00_a.ipynb"], pages)
    names = {path.name for path in (base / "figures").iterdir()}
    assert {"tidy.csv", "comparisons.csv", "table1.csv", "claims.png"} <= names and "stale.csv" not in names
    tidy = pd.read_csv(base / "figures" / "tidy.csv").pivot(index="seed", columns="target", values="accuracy")
    said = (base / "README.md").read_text(encoding="utf-8")
    difference = (tidy["table2:1"] - tidy["table2:2"]).mean()
    assert f"-->{difference:.1f} points (" in said and " 1 seed)<!--/-->" in said
    assert f"-->{tidy['table2:1'].mean():.1f} % (" in said and "; 2 seeds)<!--/-->" in said
    assert f"| `table2:1` | depth alone (row 1) | depth | 70.4 | {tidy['table2:1'].mean():.1f} [" in said
    assert "RGB + depth" not in said and "<!--= claims -->1<!--/-->" in said
    assert nbformat.read(base / "00_a.ipynb", 4).cells[0].outputs[0]["data"] == {"text/plain": "2"}
    numbers = published.Numbers(base / "figures")
    for page in published.PAGES:
        text = (base / page).read_text(encoding="utf-8")
        assert published.fill(text, numbers) == text, "the committed tables say the same again"


def test_what_rests_on_more_seeds_stays_where_something_is_added(home, monkeypatch):
    base, lab = home
    monkeypatch.setattr(committed, "SHOWN", lab.series_name)
    with committed.being_made():
        published.put(lab, base, [], published.draw([lab], base))
    before, caption = published.Numbers(base / "figures"), caption_in(base / "figures" / "claims.png")
    (base / "figures" / "05_of_another_notebook.png").write_bytes((base / "figures" / "claims.png").read_bytes())
    shutil.rmtree(make("depth", lab.with_seed(1)).path)  # as in another clone
    make("rgb", lab.with_seed(1))
    with committed.being_made(adding=True):
        published.put(lab, base, [], published.draw([lab], base))
    after = published.Numbers(base / "figures")
    assert before.accuracy("table2:1") == after.accuracy("table2:1") and after.accuracy("table2:1")["seeds"] == 2
    assert (before.accuracy("table2:2")["seeds"], after.accuracy("table2:2")["seeds"]) == (1, 2)
    assert after.say("table2:1 - table2:2") == before.say("table2:1 - table2:2")
    row = next(row for row in (base / "README.md").read_text(encoding="utf-8").splitlines() if "RGB alone" in row)
    assert row.endswith("| 2 |") and caption_in(base / "figures" / "claims.png") == caption
    assert (base / "figures" / "05_of_another_notebook.png").exists()


def test_nothing_is_added_to_numbers_that_were_trained_otherwise(home, monkeypatch):
    base, lab = home
    monkeypatch.setattr(committed, "SHOWN", lab.series_name)
    with committed.being_made():
        published.put(lab, base, [], published.draw([lab], base))
    monkeypatch.setattr(published, "TRAINING_VERSION", published.TRAINING_VERSION + 1)
    with committed.being_made(adding=True), pytest.raises(LabError, match="publish all anew"):
        published.draw([lab], base)


def test_of_two_tables_the_rows_of_more_seeds_are_taken():
    def rows(target, seeds, accuracy, where):
        return [{"protocol": "cross-subject", "target": target, "seed": seed, "accuracy": accuracy, "made on": where}
                for seed in seeds]  # fmt: skip

    kept = pd.DataFrame(
        [*rows("a", range(3), 1.0, "x"), *rows("b", range(1), 1.0, "x"), *rows("c", range(2), 1.0, "x")]
    )
    for where, beside, of_as_many in (("x", [3, 2, 2], 2), ("y", [5, 3, 4], 1)):  # runs of another machine stand beside
        made = pd.DataFrame([row for name in "abc" for row in rows(name, range(2), 2.0, where)])
        table = published.with_more_seeds(made, kept)
        both = committed.of_most_seeds(table).groupby("target")["accuracy"].agg(["size", "mean"])
        assert table.groupby("target").size().tolist() == beside
        assert both.to_numpy().tolist() == [[3, 1], [2, 2], [2, of_as_many]]


@pytest.mark.parametrize(("text", "found"), [
    ("", "No columns to parse"), ("protocol,target\na,b\n", "'made on'"), (b"\xff\x00", "codec can't decode"),
    ("protocol,target,seed,made on\na,b,0,c\na,b,0,c\n", "line 3 is there twice"), (None, "No such file"),
    ("protocol,target,seed,made on\na,b,0,c,d,e\na,b\na,b,c,d,e,f,g,h\n", "tokenizing"),
])  # fmt: skip
def test_a_damaged_table_is_named(tmp_path, text, found):
    path = tmp_path / "tidy.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LabError, match=r"tidy\.csv: expected") as error:
        committed.read_table(tmp_path, "tidy")
    assert found in str(error.value) and "git checkout figures" in str(error.value)


def test_a_number_that_there_is_not_is_named_and_nothing_is_replaced(home):
    base, lab = home
    (base / "README.md").write_text("It wins by <!--= table2:15 - table2:2 -->?<!--/-->.\n", encoding="utf-8")
    with committed.being_made(), pytest.raises(LabError, match="'table2:15 - table2:2'"):
        published.draw([lab], base)
    assert not (base / "figures").exists()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"value": 52.4, "low": 35, "high": 64.1, "unit": "%", "seeds": 5}, "52 % (35 to 64; 5 seeds)"),
        ({"value": 8.88, "low": None, "high": None, "unit": "points", "seeds": 1}, "8.9 points (1 seed)"),
        ({"value": 0.0075, "low": 0.0013, "high": 0.058, "unit": "variance of the noise", "seeds": 3},
         "0.0075 (0.0013 to 0.058; 3 seeds)"),
    ],
)  # fmt: skip
def test_numbers_are_said_with_interval_and_seeds(row, said):
    assert published._said(pd.DataFrame([row]).to_dict("records")[0]) == said


def test_what_is_committed_needs_all_that_notebooks_read(tmp_path, monkeypatch):
    lab = tiny_lab(tmp_path)
    with pytest.raises(LabError, match="the embedded set and profile mini"):
        published.check(lab)
    monkeypatch.setattr(published, "SHOWN", lab.series_name)
    with pytest.raises(LabError, match="labkit reproduce all"):
        published.check(lab)
    monkeypatch.setattr(targets, "look", lambda lab, names: dict.fromkeys(names, SimpleNamespace(done=lab.seed < 2)))
    published.check(lab)
