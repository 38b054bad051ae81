"""Profiles by name, with settings changed: "mini+step3.lr=0.001" is `mini` with another rate in step 3."""

from __future__ import annotations

import io
import re
import sys
from contextlib import redirect_stderr, suppress
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Any

from ..config import PROFILES, Profile
from ..errors import LabError

MAX_SEEDS = 10  # of a target are looked for: seeds 0 to 9
SHARES = ("bn_momentum", "imitation", "feature_weight", "focal_share")  # at most 1
DIVISORS = ("temperature", "student_temperature", "weighting_temperature")  # not 0
MAY_BE_NONE = ("snapshots", "connect_at", "frames")  # lists that may be empty


def get_profile(name: str) -> Profile:
    """The profile of that name; "mini+step3.lr=0.001+model.connection=gated" is mini with two settings changed.

    A changed profile is named by what differs, in the order of `settings` and always written alike, so its name
    tells it from every other. Raises LabError for a name or a value that there is not.
    """
    base, *changes = re.split(r"\+(?=[a-z])", name)  # not at the plus of 1e+5
    if base not in PROFILES:
        raise LabError.mismatch(None, f"a profile among {', '.join(PROFILES)}", repr(base), "use one of those names")
    profile, before = PROFILES[base], settings(PROFILES[base])
    for change in changes:
        profile = _changed(profile, *change.partition("=")[::2])
    _check_frames(profile)
    after = settings(profile).items()
    told = [f"{setting}={_in_words(value)}" for setting, value in after if value != before[setting]]
    return replace(profile, name="+".join([base, *told]))


def at_least_one(**counts: int | None) -> None:
    """LabError unless each of these options is one or more; None leaves the choice to the lab."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise LabError.mismatch(None, f"at least 1 for {name}", count, "give one or more")


def check_seeds(seeds: int) -> None:
    """LabError unless it is one seed or more, and no more than are looked for."""
    at_least_one(seeds=seeds)
    if seeds > MAX_SEEDS:
        fix = "ask for fewer, or raise MAX_SEEDS in labkit/tools/settings.py"
        raise LabError.mismatch(None, f"at most {MAX_SEEDS} seeds", seeds, fix)


def _check_frames(profile: Profile) -> None:
    """LabError where more frames of a clip are to be shown than are kept, or in training than a clip has."""
    clips = profile.clips
    most = {"clips.num_frames": ("clips.stored_frames", clips.stored_frames, (clips.num_frames,))}
    for step in ("step1", "step2", "step3", "step4"):
        most[f"{step}.frames"] = ("clips.num_frames", clips.num_frames, getattr(profile, step).frames)
    for setting, (limit, value, frames) in most.items():
        if max(frames, default=0) > value:
            fix = f"set {limit} or {setting}, too"
            raise LabError.mismatch(None, f"{setting} of at most {limit}, {value}", _in_words(frames), fix)


def settings(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every number of a profile under its name, such as "step3.lr" or "puppets.nuisance.light"."""
    found = {}
    for each in fields(config):
        value = getattr(config, each.name)
        if is_dataclass(value):
            found |= settings(value, f"{prefix}{each.name}.")
        elif prefix:  # the profile's own name is none
            found[prefix + each.name] = value
    return found


def _changed(profile: Profile, setting: str, text: str) -> Profile:
    """One setting read from text, several values with commas between; LabError where it is none of its kind."""
    import tyro  # a fifth of a second, for changed profiles alone

    setting, known = setting.replace("-", "_"), settings(profile)
    if setting not in known:
        close = ", ".join(get_close_matches(setting, known, 3)) or "step3.lr"
        raise LabError.mismatch(None, f"a setting such as {close}", repr(setting), "`labkit settings` lists them all")
    words = [f"--{setting}", *filter(None, text.split(","))]
    with suppress(SystemExit), redirect_stderr(io.StringIO()):  # tyro tells it in a box; here it is one line
        changed = tyro.cli(Profile, default=profile, args=words, config=(tyro.conf.FlagConversionOff,))
        if re.fullmatch(r"[\w.,+-]*", text) and _is_sane(setting, settings(changed)[setting]):  # a folder's name, too
            return changed
    fix = f"give a value such as {_in_words(known[setting])}"
    raise LabError.mismatch(None, f"{setting} as {_kind(profile, setting)}", repr(text), fix)


def _is_sane(setting: str, value: Any) -> bool:
    """Whether all numbers are finite and none negative, and whole ones, but for a seed, 1 or more; and see above."""
    values, name = value if isinstance(value, tuple) else (value,), setting.rpartition(".")[2]
    numbers = [one for one in values if type(one) in (int, float)]
    if (name in DIVISORS and value == 0) or not (values or name in MAY_BE_NONE):
        return False
    if name == "distance" and values[0] > values[1]:
        return False
    most = 1 if name in SHARES else sys.float_info.max
    return all((type(one) is int and name != "seed") <= one <= most for one in numbers)


def _kind(config: Any, setting: str) -> str:
    """What a setting's annotation allows, such as `float` or `"multiply", "gated" | None`."""
    *path, name = setting.split(".")
    for part in path:
        config = getattr(config, part)
    kind = re.sub(r"Literal\[(.*?)\]", r"\1", type(config).__annotations__[name])
    least = "above 0" if name in DIVISORS else "of 0 to 1" if name in SHARES else "of 0 or more"
    return kind.replace("int", "int of 1 or more").replace("float", f"float {least}")


def _in_words(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
