"""What is committed of results, made from the runs there are: figures, two tables, and the numbers that pages say.

`figures/tidy.csv` has a row a protocol, target, seed and set of runs ("made on"). `figures/comparisons.csv` has a row
a protocol and comparison, by name: a difference "table2:15 - control:15", a share of the gap to RGB and depth "gap
table2:15 - control:15", a claim "15 > twin", a point of `discrepancies` "point 3 on table2:14". On a page a number
stands between marks that name it, and so do counts of the paper's claims and of points measured ("claims holds",
"claims holds with more people"):

    row 15 beats its control by <!--= table2:15 - control:15 -->11.2 points (5.6 to 16.7; 5 seeds)<!--/-->
    it reaches <!--= table2:15 @ cross-view -->87.4 % (84.7 to 90.0; 3 seeds)<!--/-->; <!--= claims holds -->16<!--/-->

No mark begins a line, where Markdown would take it for a block of HTML.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ..analysis.claims import CLAIMS
from ..analysis.effects import as_claim
from ..analysis.verdicts import GAPS, MORE_PEOPLE, UPPER, claims_table, gaps_table
from ..data.splits import PUPPETS
from ..errors import LabError
from ..experiments import committed
from ..experiments.committed import SHOWN
from ..experiments.comparisons import DIFFERS
from ..experiments.discrepancies import DISCREPANCIES
from ..experiments.targets import (
    ALL_GROUPS,
    IN_NOTEBOOKS,
    TARGETS,
    command_for,
    comparison_table,
    complete_seeds,
    over_seeds,
    results_table,
    seeds_there,
    tidy,
    trainings_of,
)
from ..figures import paper
from ..figures.style import caption_in, records_folder, seeds_in, write_table
from ..files import atomic_folder, write_text
from ..lab import Lab
from ..runs import TRAINING_VERSION
from .notebooks import adopt_outputs, read_notebook

PAGES = ("README.md", "labkit/course/site/findings.md", "labkit/course/site/reproducibility.md")
COLUMNS = ("protocol", "name", "value", "low", "high", "unit", "p", "seeds", "verdict", "seeds needed", "note", "by",
           "differs")  # fmt: skip

# The rows of README's table, in their order.
ROWS = (
    "table2:1", "table2:2", "table2:3", "table2:4", "table2:5", "reading:3-frozen", "reading:3-weighted", "table2:7",
    "reading:7", "table2:8", "table2:9", "control:8", "table2:13", "oracle:13", "table2:14", "control:13",
    "untaught:13", "table2:15", "control:15", "untaught:15", "start:flow-15", "recipe:best", "recipe:late-fusion",
    "recipe:self", "recipe:seen-start", "lesson:13", "lesson:13-labelled", "lesson:labels", "lesson:self",
    "lesson:self-labelled", "lesson:shuffled", "lesson:control", "lesson:15", "lesson:labels-15", "lesson:control-15",
    "system:generalized", "system:generalized-rgb", "system:mars", "student:mars-rgb", "system:focal",
    "student:focal-rgb", "system:focal-several", "system:ensemble-depth", "system:ensemble-rgb", "radevski:uniform",
)  # fmt: skip
HEAD = "| target | model | sees at test | paper | ours | seeds |\n|---|---|---|---|---|---|\n"

MARK = re.compile(r"(<!--= (.+?) -->).*?(<!--/-->)", re.DOTALL)
TABLE = re.compile(r"(<!-- rows -->\n).*?(<!-- /rows -->)", re.DOTALL)
SAID = {  # by unit: how a value and the ends of its interval are written, and what follows the value
    "points": ("{:.1f}", " points"), "%": ("{:.0f}", " %"), "accuracy": ("{:.1f}", " %"),
    "% of iterations": ("{:.0f}", " %"), "variance of the noise": ("{:.2g}", ""),
}  # fmt: skip


def check(lab: Lab) -> None:
    """Raises LabError unless a lab is the one whose results are committed and has what the notebooks read."""
    if lab.series_name != SHOWN:
        fix = "leave LABKIT_DATA unset: what is committed shows the embedded set"
        raise LabError.mismatch(lab.root, f"the embedded set and profile {SHOWN}", lab.series_name, fix)
    if not seeds_there(lab, IN_NOTEBOOKS, 0):
        more = [name for name in IN_NOTEBOOKS if name not in ALL_GROUPS]
        fix = f"make them, in {lab.runs.root.parent}: {command_for(('all', *more), lab)}"
        raise LabError.mismatch(lab.runs.root, "finished runs of all that notebooks read", "some missing", fix)


def draw(labs: Sequence[Lab], home: Path) -> dict[str, str]:
    """Make figures and tables afresh in the folder of records; each of PAGES as it then reads. Nothing is trained.

    `labs` are those of the paper's protocols. Raises LabError where runs of a figure, or a number of a page, are
    missing, and where what is added to was trained otherwise (`runs.TRAINING_VERSION`).
    """
    folder, clips, kept = records_folder(labs[0]) / "figures", labs[0].clips, committed.folder(labs[0])
    if kept is not None and (other := {*committed.read_table(kept, "tidy")["version"]} - {TRAINING_VERSION}):
        fix = "publish all anew: labkit publish"
        raise LabError.mismatch(kept / "tidy.csv", f"runs of TRAINING_VERSION {TRAINING_VERSION}", min(other), fix)
    shutil.rmtree(folder, ignore_errors=True)
    pages = {page: (home / page).read_text(encoding="utf-8") for page in PAGES}
    every = [replace(labs[0], split=PUPPETS.split(name, clips)) for name in PUPPETS.protocols
             if PUPPETS.divides(name, clips)]  # fmt: skip
    pairs = dict.fromkeys([*DIFFERS, *(pair for text in pages.values() for pair in _pairs(text))])
    tables = {"tidy": tidy(every), "comparisons": pd.concat(comparisons(lab, pairs) for lab in every)}
    made_on = " and ".join(sorted({where for lab in every for where in results_table(lab).attrs["made on"]}))
    for name, table in tables.items():
        table = table.assign(**{"made on": made_on})
        table = table if kept is None else with_more_seeds(table, committed.read_table(kept, name))
        write_table(folder / f"{name}.csv", table)
    for lab in labs:
        for one in paper.TABLES_AND_FIGURES.values():
            if kept is None or complete_seeds(lab, one.trainings):  # else what is there already stays
                paper.save(one, lab)
    numbers = Numbers(folder)
    return {page: fill(text, numbers) for page, text in pages.items()}


def with_more_seeds(made: pd.DataFrame, kept: pd.DataFrame) -> pd.DataFrame:
    """Each comparison from the table where it has more seeds; of as many, from `made`, if not made elsewhere.

    Of targets, what was made elsewhere stays beside: comparisons rest on runs of one home (`committed.of_most_seeds`).
    """
    best: dict[tuple, tuple[int, pd.DataFrame]] = {}
    for table in (kept, made):
        for name, rows in table.groupby(["protocol", *(["target", "made on"] if "target" in table else ["name"])],
                                        sort=False):  # fmt: skip
            seeds = rows["seeds"].max() if "seeds" in rows else len(rows)
            place = rows["made on"].iloc[0]
            if name not in best or (seeds, place == best[name][1]["made on"].iloc[0]) >= (best[name][0], True):
                best[name] = seeds, rows
    return pd.concat([rows for _, rows in best.values()])


def put(lab: Lab, home: Path, notebooks: Iterable[Path], pages: dict[str, str]) -> None:
    """Put what was made in the place of what is committed: figures, pages, and the outputs of notebooks.

    Where something is added, a figure stays unless the new one rests on more seeds, and so does the output of a cell
    that shows no new figure.
    """
    made, kept = records_folder(lab), committed.folder(lab)
    stay = [] if kept is None else [path.relative_to(kept) for path in kept.rglob("*.png")
                                    if _seeds(path) >= _seeds(made / "figures" / path.relative_to(kept))]  # fmt: skip
    with atomic_folder(home / "figures") as folder:
        if kept is not None:
            shutil.copytree(kept, folder, dirs_exist_ok=True)
        shutil.copytree(made / "figures", folder, dirs_exist_ok=True)
        for picture in stay:
            for path in (kept / picture.parent).glob(f"{picture.stem}.*"):
                shutil.copy2(path, folder / picture.parent)
    new = {path.stem for path in (made / "figures").glob("*.png") if Path(path.name) not in stay}
    for page, text in pages.items():
        write_text(home / page, text)
    for path in notebooks:
        adopt_outputs(read_notebook(path), made / path.name, None if kept is None else new)


def _seeds(picture: Path) -> tuple[int, int]:
    """How many seeds a picture rests on: the most that its caption tells of (so notebooks choose), and of all rows."""
    table = picture.with_suffix(".csv")
    rows = pd.read_csv(table) if table.exists() else pd.DataFrame()
    most = seeds_in(caption_in(picture)) if picture.exists() else -1
    return most, rows["seeds"].sum() if "seeds" in rows else 0


def comparisons(lab: Lab, pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """The rows of comparisons.csv on one protocol, all that have runs: these pairs, gaps, claims and points."""
    pairs = [pair for pair in pairs if complete_seeds(lab, trainings_of(pair))]
    gaps = [pair for pair in GAPS if complete_seeds(lab, trainings_of((*pair, UPPER)))]
    judged = claims_table(lab, [*CLAIMS, *(as_claim(point, *pair) for point in DISCREPANCIES for pair in point.pairs)])
    tables = [judged, claims_table(lab, more_people=True)]
    parts = [table.rename(columns={"claim": "name", "effect": "value", "seeds_needed": "seeds needed"})
             for table in tables]  # fmt: skip
    if pairs:
        table = comparison_table(lab, pairs).rename(columns={"difference": "value"})
        parts.append(table.assign(name=table["target"] + " - " + table["minus"], unit="points"))
    if gaps:
        table = gaps_table(lab, gaps).rename(columns={"gap closed": "value"})
        parts.append(table.assign(name="gap " + table["student"] + " - " + table["baseline"], unit="%"))
    table = pd.concat(parts).assign(protocol=lab.split.name)
    return table.loc[table["seeds"] > 0, list(COLUMNS)]


def _pairs(text: str) -> list[tuple[str, str]]:
    """The pairs of targets whose difference a page says."""
    names = (mark[2].partition(" @ ")[0].split(" - ") for mark in MARK.finditer(text))
    return [tuple(pair) for pair in names if len(pair) == 2 and {*pair} <= {*TARGETS}]


class Numbers:
    """Numbers by name, from the two tables of a folder, as pages say them."""

    def __init__(self, folder: Path):
        tidy, self.comparisons = (committed.read_table(folder, name) for name in ("tidy", "comparisons"))
        self.tidy = committed.of_most_seeds(tidy)

    def accuracy(self, target: str, protocol: str = "cross-subject") -> dict:
        """Mean over seeds in %, interval and number of seeds, as `targets.results_table` has them."""
        tests = self.tidy[(self.tidy["target"] == target) & (self.tidy["protocol"] == protocol)]
        found = over_seeds(tests.assign(accuracy=tests["accuracy"] / 100).to_dict("records"))
        return {"value": found["ours"], "unit": "accuracy", "seeds": len(tests), **found}

    def say(self, source: str) -> str:
        """A number with its interval and seeds, or a count. Raises LabError for a name that no table has."""
        name, _, protocol = source.partition(" @ ")
        protocol = protocol or "cross-subject"
        rows = self.comparisons[self.comparisons["protocol"] == protocol]
        words = name.split()
        if words[0] == "claims":
            return self._count(rows[rows["by"] == "paper"], *words[1:])
        if name == "points":
            return str(rows["name"].str.extract(r"^(point \d+) on ")[0].nunique())
        rows = rows[rows["name"] == name].to_dict("records")
        found = [self.accuracy(name, protocol)] if name in TARGETS else rows
        if not found or not found[0]["seeds"]:
            fix = "correct the mark, or make the runs: labkit reproduce"
            raise LabError.mismatch(None, "the name of a number in figures/", repr(source), fix)
        return _said(found[0])

    @staticmethod
    def _count(claims: pd.DataFrame, verdict: str = "", *with_more_people: str) -> str:
        """How many claims have that verdict, or how many there are; the verdict with more people, where asked for."""
        verdicts = claims.set_index("name")["verdict"]
        again = verdicts.index.str.endswith(MORE_PEOPLE)
        plain, asked = verdicts[~again].copy(), verdicts[again].rename(lambda name: name.removesuffix(MORE_PEOPLE))
        if with_more_people:
            plain.update(asked)
        return str((plain == verdict).sum() if verdict else len(plain))

    def row(self, name: str) -> str:
        """A line of README's table, where there is a result."""
        target, ours = TARGETS[name], self.accuracy(name)
        printed = target.paper.get("cross-subject")
        if not ours["seeds"]:
            return ""
        value = f"{ours['ours']:.1f} [{ours['low']:.1f}, {ours['high']:.1f}]"
        if name == "table2:15":
            value = re.sub(r"^[\d.]+", r"**\g<0>**", value)
        printed = "–" if printed is None else f"{printed:.1f}"
        cells = (f"`{name}`", target.named, target.tested_on, printed, value, ours["seeds"])
        return f"| {' | '.join(map(str, cells))} |\n"


def _said(row: dict) -> str:
    form, unit = SAID[row["unit"]]
    interval = "" if pd.isna(row["low"]) else f"{form.format(row['low'])} to {form.format(row['high'])}; "
    return f"{form.format(row['value'])}{unit} ({interval}{row['seeds']} seed{'s' * (row['seeds'] > 1)})"


def fill(text: str, numbers: Numbers) -> str:
    """A page with the number of every mark, and the table of rows, as the tables have them."""
    text = MARK.sub(lambda mark: mark[1] + numbers.say(mark[2]) + mark[3], text)
    return TABLE.sub(lambda mark: mark[1] + HEAD + "".join(map(numbers.row, ROWS)) + mark[2], text)
