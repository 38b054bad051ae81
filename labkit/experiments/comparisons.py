"""Which targets are compared, and the one thing in which the two differ.

One table for all comparisons: those of the claims and gaps, of the lab's controls, recipes and other systems. The
tests hold each entry against the configurations of all trainings behind both of its targets: nothing else differs.
Where more than one thing differs, as in most claims of the paper, the entry says "several". What a point of
`discrepancies` changes stands there; its pairs are left out here.
"""

from __future__ import annotations

from itertools import pairwise

_ROUNDS = ("none", "1e-3", "1e-2", "1e-1", "1e0", "1e1")

# what differs: (better, worse), as the comparison is usually asked
BY_DIFFERENCE: dict[str, tuple[tuple[str, str], ...]] = {
    # one training decided otherwise
    "what the stream sees": (("table2:1", "table2:2"), ("stream:flow", "table2:2"), ("stream:skeleton", "table2:2"),
                             ("stream:layout", "table2:2")),
    "what the source stream sees": (
        ("table2:8", "control:8"), ("table2:8", "start:flow-8"), ("untaught:13", "control:13"),
        ("untaught:15", "control:15"), ("untaught:13", "start:flow-13"), ("untaught:15", "start:flow-15"),
        ("start:flow-8", "control:8"), ("start:flow-13", "control:13"), ("start:flow-15", "control:15"),
    ),
    "which stream is the source": (("table2:8", "suppl:8a"), ("table2:13", "suppl:13a"), ("table2:15", "suppl:15a"),
                                   ("table2:6", "suppl:7a"), ("table2:7", "suppl:6a")),
    "which stream is missing at test": (("suppl:13a", "reading:13a"), ("suppl:15a", "reading:15a")),
    "connections of step 2": (("table2:8", "table2:9"), ("table2:10", "reading:10"),
                              ("recipe:unconnected", "recipe:late-fusion")),
    "connections of step 3": (("table2:13", "table2:14"), ("table2:11", "table2:10"), ("table2:15", "recipe:best")),
    "connections of step 4": (("recipe:best", "recipe:unconnected"),),
    "form of the connections": (("ladder:gated", "table2:13"),),
    "loss of step 3": (("table2:12", "table2:11"), ("table2:13", "table2:12"), ("table2:13", "table2:11"),
                       ("oracle:13", "oracle:12"), ("oracle:13", "oracle:11"),
                       ("recipe:best", "recipe:eq3"), ("recipe:best", "recipe:eq5")),
    "a teacher in step 3": (("table2:14", "untaught:13"), ("recipe:best", "untaught:15"),
                            ("lesson:13-labelled", "lesson:labels")),
    "epochs of step 3": (("lesson:labels", "untaught:13"), ("lesson:labels-15", "untaught:15"),
                         ("lesson:control", "control:13"), ("lesson:control-15", "control:15")),
    "teacher of step 3": (("recipe:best", "recipe:self"), ("lesson:13-labelled", "lesson:self-labelled"),
                          ("lesson:13", "lesson:self"), ("lesson:15", "lesson:self-15"),
                          ("camera:13", "camera:self")),
    "whose soft labels a clip is given": (("lesson:13-labelled", "lesson:shuffled-labelled"),
                                          ("lesson:13", "lesson:shuffled")),
    "unlabelled pairs, in as many steps": (("lesson:13", "lesson:13-labelled"), ("lesson:self", "lesson:self-labelled"),
                                           ("lesson:shuffled", "lesson:shuffled-labelled")),
    "unlabelled pairs of the test's camera, in as many steps": (("camera:13", "lesson:13"),
                                                                ("camera:self", "lesson:self")),
    "maps of step 3": (("recipe:best", "recipe:maps"),),
    "start of step 3": (("recipe:best", "recipe:seen-start"), ("control:15", "recipe:labels"),
                        ("lesson:13", "lesson:seen-start")),
    "a teacher in step 4": (("recipe:taught", "recipe:best"),),
    "loss of the one stage": (("table2:4", "table2:3"), ("table2:5", "table2:4"), ("table2:5", "table2:3")),
    "depth frozen in the one stage": (("reading:3-frozen", "table2:3"), ("reading:4-frozen", "table2:4"),
                                      ("reading:5-frozen", "table2:5")),
    "weights of the one stage": (("reading:3-weighted", "table2:3"),),
    "epochs of the one stage": (("reading:5-long", "table2:5"),),
    # one stream and its teachers
    "a teacher": tuple((student, "table2:2") for student in (
        "system:generalized", "system:generalized-rgb", "student:softened", "student:softened-rgb", "system:mars",
        "student:mars-rgb", "system:focal", "student:focal-rgb", "system:focal-several", "system:ensemble-depth",
        "system:ensemble-rgb", "radevski:uniform", "radevski:sample", "radevski:dataset")),
    "who teaches": (("system:generalized", "system:generalized-rgb"), ("student:softened", "student:softened-rgb"),
                    ("system:mars", "student:mars-rgb"), ("system:focal", "student:focal-rgb"),
                    ("system:focal-several", "system:focal"), ("system:ensemble-depth", "system:ensemble-rgb"),
                    ("radevski:uniform", "system:ensemble-rgb"), ("radevski:uniform", "system:ensemble-depth"),
                    ("radevski:teachers", "system:teachers-depth")),
    "temperature of the soft labels": (("student:softened", "system:generalized"),
                                       ("student:softened-rgb", "system:generalized-rgb")),
    "loss of the student": (("system:mars", "system:generalized"), ("system:focal", "system:generalized")),
    "weights of the teachers": (("radevski:sample", "radevski:uniform"), ("radevski:dataset", "radevski:uniform")),
    # one network read in two ways
    "which branch answers": (("table2:8", "table2:6"), ("table2:8", "table2:7"), ("suppl:8a", "suppl:6a"),
                             ("suppl:8a", "suppl:7a")),
    "depth's signals at test": (("oracle:11", "table2:11"), ("oracle:12", "table2:12"), ("oracle:13", "table2:13"),
                                ("table2:7", "reading:7")),
    "RGB's signals at test": (("suppl:6a", "reading:6a"),),
    "signals at test": (("ladder:own-signals", "table2:13"), ("ladder:row14-signals", "table2:13")),
    "batch statistics at test": (("ladder:renewed", "table2:13"),),
    "noise in depth": tuple((f"table3:{less}", f"table3:{more}")
                            for less, more in pairwise(_ROUNDS)),
    # more than one thing: most are the paper's own claims
    "several: a second camera, a second stream and step 2": (
        ("table2:8", "table2:1"), ("table2:8", "table2:2"), ("table2:1", "suppl:6a")),
    "several: another camera's signals and step 2": (("table2:6", "table2:1"), ("table2:7", "table2:2")),
    "several: connections and which branch answers": (("table2:9", "table2:6"), ("table2:9", "table2:7")),
    "several: depth in training, a second stream and steps 2 to 4": (
        ("table2:15", "table2:2"), ("recipe:best", "table2:2")),
    "several: a second stream and steps 2 to 4": (("control:15", "table2:2"),),
    "several: depth in training and steps 2 and 3": (("table2:13", "table2:2"), ("table2:14", "table2:2")),
    "several: steps 2 and 3": (("control:13", "table2:2"),),
    "several: steps 2 to 4, RGB's weights and teaching": (("suppl:15a", "table2:1"),),
    "several: depth's weights, its teaching and its connections": (("table2:15", "control:15"),
                                                                   ("table2:13", "control:13")),
    "several: depth's weights, its teaching and the connections of step 3": (("table2:14", "control:13"),),
    "several: depth's weights and its teaching": (("recipe:best", "control:15"),),
    "several: depth's teaching and its connections": (("table2:15", "untaught:15"), ("table2:13", "untaught:13")),
    "several: the source's weights, the teaching and its connections": (("table2:15", "start:flow-15"),),
    "several: the source's weights and the teaching": (("recipe:best", "start:flow-15"),),
    "several: a teacher in step 3 and unlabelled pairs": (("lesson:13", "lesson:labels"),
                                                          ("lesson:self", "lesson:labels"),
                                                          ("camera:13", "lesson:labels"),
                                                          ("camera:self", "lesson:labels"),
                                                          ("lesson:15", "lesson:labels-15")),
    "several: a teacher in step 3, unlabelled pairs and epochs": (("lesson:13", "untaught:13"),
                                                                  ("lesson:15", "untaught:15")),
    "several: depth's weights, its teaching and unlabelled pairs": (("lesson:13", "lesson:control"),
                                                                    ("lesson:15", "lesson:control-15")),
    "several: depth's weights, its teaching, unlabelled pairs and epochs": (("lesson:13", "control:13"),
                                                                            ("lesson:15", "control:15")),
    "several: the teaching, unlabelled pairs and epochs": (("lesson:15", "recipe:best"), ("lesson:13", "table2:14")),
    "several: depth's weights, its teaching, and the start": (("recipe:best", "recipe:labels"),),
    "several: depth at test, steps 3 and 4": (
        ("table2:8", "table2:15"), ("suppl:8a", "table2:15"), *(
            ("table2:15", f"table3:{noise}") for noise in (*_ROUNDS, "void"))),
    "several: RGB in depth's place and step 3": (("table2:13", "table2:6"), ("table2:14", "table2:6")),
    "several: a second stream and step 4": (("table2:15", "table2:13"), ("control:15", "control:13")),
    "several: stages, connections and streams": (("table2:13", "table2:3"), ("table2:15", "table2:3"),
                                                 ("table2:15", "table2:5"), ("table2:15", "reading:5-long"),
                                                 ("control:15", "table2:5"), ("table2:5", "control:8"),
                                                 ("table2:5", "table2:2")),
    "several: teachers, and one stream in their place": (("radevski:uniform", "radevski:teachers"),
                                                         ("radevski:teachers", "table2:2")),
}  # fmt: skip

DIFFERS = {pair: difference for difference, pairs in BY_DIFFERENCE.items() for pair in pairs}


def what_differs(one: str, other: str) -> str:
    """In what two targets differ, whichever is named first; empty where the table has no such comparison."""
    return DIFFERS.get((one, other)) or DIFFERS.get((other, one), "")
