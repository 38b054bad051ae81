"""Twelve of NTU's actions as motions of a puppet, chosen so that no modality has it all.

colour  the same motion with an object of the same shapes; only its colour decides (depth cannot tell)
depth   the same picture from the front; the limb goes along the optical axis or not (RGB can hardly tell)
order   one is the other in reverse (one frame cannot tell)

Hands are placed relative to the base of the neck, in fractions of body height: out to their own side,
up, forward (see `body.Posture`). The acting ("near") hand is the right one until mirrored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..config import PuppetNuisance
from .body import (
    JOINT,
    Body,
    Person,
    Posture,
    body_solids,
    cap_solids,
    generator,
    mirrored,
    multiply,
    object_solids,
    pose,
    rotation,
    turn,
)
from .rendering import Solid

FRAME_RATE = 15  # frames per second of the embedded set
SHAPES = ("cylinder", "ball", "box", "slab")


class Stage:
    """One performance while it is being written: its clock, its chance and where its hands go."""

    def __init__(self, num_frames: int, who: Person, nuisance: PuppetNuisance, rng: np.random.Generator):
        self.who, self.rng, self.axis = who, rng, nuisance.axis_amplitude
        self.style = nuisance.style
        begin, end = rng.uniform(0, 0.12, 2) * self.style
        clock = np.clip((np.linspace(0, 1, num_frames) - begin) / (1 - begin - end), 0, 1)
        self.clock = clock ** (2 ** (rng.normal(0, 0.3) * self.style))
        self.seconds = np.arange(num_frames) / FRAME_RATE
        self.rest = self.near(np.array(who.rest), 0.012)

    def near(self, place, spread: float = 0.008) -> np.ndarray:
        """A place (3,) that this performance meets only roughly."""
        return np.asarray(place, float) + self.rng.normal(0, spread, 3) * self.style

    def track(self, *keys: tuple[float, object]) -> np.ndarray:
        """Smooth passage through (time, value) keys: (T,) or (T,3). Key times vary with style."""
        times = np.array([time for time, _ in keys])
        inner = (times > 0) & (times < 1)
        times = np.sort(times + inner * self.rng.uniform(-0.05, 0.05, len(times)) * self.style)
        values = np.array([np.broadcast_to(value, np.shape(keys[0][1])) for _, value in keys], float)
        after = np.clip(np.searchsorted(times, self.clock, side="right"), 1, len(keys) - 1)
        length = np.maximum(times[after] - times[after - 1], 1e-6)
        share = np.clip((self.clock - times[after - 1]) / length, 0, 1)
        share = share**2 * (3 - 2 * share)
        share = share if values.ndim == 1 else share[:, None]
        return values[after - 1] + share * (values[after] - values[after - 1])

    def sway(self, size: float) -> np.ndarray:
        """Slow idle movement of about `size`, (T,)."""
        waves = [(self.rng.uniform(0.2, 1.1), self.rng.uniform(0, 2 * np.pi)) for _ in range(2)]
        return size * self.style * sum(np.sin(2 * np.pi * f * self.seconds + p) for f, p in waves) / 2

    def swing(self, times_a_second: float) -> np.ndarray:
        """A sine wave of about that frequency and any phase, (T,)."""
        pace = times_a_second * self.who.tempo * self.rng.uniform(0.8, 1.2)
        return np.sin(2 * np.pi * pace * self.seconds + self.rng.uniform(0, 2 * np.pi))

    def standing(self) -> Posture:
        """Upright with idle movement; an action replaces what it moves."""
        zero = np.zeros_like(self.seconds)
        pelvis = np.stack([self.sway(0.015), zero, self.sway(0.01)], axis=1)
        far = self.near(self.rest * [1, 1, 1], 0.01)
        if self.rng.random() < 0.35 * min(self.style, 1):  # the idle hand waits in front of the belly
            far = self.near([0.10, -0.20, 0.13], 0.015)
        idle = np.stack([self.sway(0.012) for _ in range(6)], axis=1)
        feet = [self.near([0.01, 0, 0], 0.012) * [1, 0, 1] + np.zeros((len(zero), 3)) for _ in range(2)]
        return Posture(
            pelvis, self.sway(0.05), self.sway(0.04), self.sway(0.10), 0.05 + self.sway(0.10),
            self.rest + idle[:, :3], far + idle[:, 3:], *feet,
        )  # fmt: skip


def _consume(stage: Stage) -> Posture:
    """Raise what the hand holds to the mouth, tip it once or twice, lower it."""
    posture = stage.standing()
    hold, mouth = stage.near([0.13, -0.22, 0.13]), stage.near([0.025, 0.07, 0.115])
    posture.near_hand = stage.track((0, hold), (0.3, mouth), (0.7, mouth), (1, hold))
    at_mouth = stage.track((0.25, 0.0), (0.35, 1), (0.65, 1), (0.75, 0))
    posture.near_hand[:, 1] += 0.012 * stage.swing(1.2) * at_mouth
    posture.nod = posture.nod + stage.track((0.3, 0.0), (0.5, -0.25), (0.7, 0))
    return posture


def _look_at(stage: Stage) -> Posture:
    """Hold something in both hands before the chest, look down at it, move the acting hand over it."""
    posture = stage.standing()
    low, view = stage.near([0.07, -0.25, 0.12]), stage.near([0.07, -0.12, 0.18], 0.015)
    both = stage.track((0, low), (0.2, view), (1, view))
    stroke = 0.02 * stage.who.amplitude * stage.swing(1.3)
    posture.near_hand = both + np.stack([stroke, 0.5 * stroke, 0 * stroke], axis=1)
    posture.far_hand = both + 0
    posture.nod = posture.nod + stage.track((0, 0.1), (0.2, 0.45), (1, 0.45))
    return posture


def sit_down(stage: Stage) -> Posture:
    """Bend forward, lower the pelvis backwards on to a seat, straighten up, hands to the lap."""
    posture = stage.standing()
    seat = stage.near([0, -0.25, -0.14], 0.012)
    posture.pelvis = posture.pelvis + stage.track((0.1, np.zeros(3)), (0.75, seat), (1, seat))
    posture.lean = posture.lean + stage.track((0.05, 0.0), (0.42, 0.55 * stage.who.amplitude), (0.85, 0.03))
    lap = stage.near([0.10, -0.22, 0.20], 0.015)
    posture.near_hand = stage.track((0, stage.rest), (0.4, [0.16, -0.27, 0.14]), (0.8, lap), (1, lap))
    posture.far_hand = stage.track((0, posture.far_hand[0]), (0.4, [0.16, -0.27, 0.14]), (0.8, lap), (1, lap))
    return posture


def _put_on_cap(stage: Stage) -> Posture:
    posture = stage.standing()
    hold, crown = stage.near([0.12, -0.20, 0.14]), stage.near([0.07, 0.17, 0.04])
    posture.near_hand = stage.track((0, hold), (0.42, crown), (0.62, crown), (1, stage.rest))
    posture.nod = posture.nod + stage.track((0.2, 0.0), (0.5, 0.2), (0.8, 0))
    return posture


def _point(stage: Stage) -> Posture:
    """The arm goes out forward, anywhere within 50 degrees to either side."""
    posture = stage.standing()
    turned, reach = stage.rng.uniform(-0.3, 0.85), 0.34 * min(1.0, stage.who.amplitude)
    aim = np.array([0.105 + reach * np.sin(turned), stage.rng.normal(-0.03, 0.03), reach * np.cos(turned)])
    aim = stage.near([0.04, -0.07, 0.09]) * (1 - stage.axis) + aim * stage.axis
    posture.near_hand = stage.track((0, stage.rest), (0.3, aim), (0.75, aim), (1, stage.rest))
    posture.lean = posture.lean + stage.track((0.1, 0.0), (0.4, 0.06), (0.7, 0.06), (1, 0))
    return posture


def _touch_chest(stage: Stage) -> Posture:
    posture = stage.standing()
    chest = stage.near([0.01, -0.08, 0.09], 0.02)
    posture.near_hand = stage.track((0, stage.rest), (0.3, chest), (0.75, chest), (1, stage.rest))
    posture.lean = posture.lean + stage.track((0.1, 0.0), (0.4, 0.14), (0.7, 0.14), (1, 0))
    return posture


def _kick(stage: Stage) -> Posture:
    posture = stage.standing()
    size = stage.who.amplitude
    back = stage.near([0, 0.09, -0.10]) * size
    front = stage.near([0, 0.20, 0.36 * stage.axis], 0.02) * size
    posture.near_foot = posture.near_foot + stage.track(
        (0, np.zeros(3)), (0.25, back), (0.45, front), (0.6, front), (0.9, np.zeros(3))
    )
    posture.lean = posture.lean + stage.track((0.1, 0.0), (0.25, 0.08), (0.5, -0.15), (0.9, 0))
    return _balancing(stage, posture)


def _hop(stage: Stage) -> Posture:
    """On one leg, the other bent backwards, a few low hops."""
    posture = stage.standing()
    size = stage.who.amplitude
    lift = stage.near([0, 0.19, -0.20 * stage.axis], 0.02) * size
    posture.near_foot = posture.near_foot + stage.track((0, np.zeros(3)), (0.2, lift), (0.8, lift), (1, np.zeros(3)))
    spring = abs(stage.swing(1.0)) * stage.track((0.15, 0.0), (0.25, 1), (0.75, 1), (0.85, 0)) * 0.045 * size
    up = np.stack([0 * spring, spring, 0 * spring], axis=1)
    posture.pelvis, posture.near_foot = posture.pelvis + up, posture.near_foot + up
    posture.far_foot = posture.far_foot + up
    return _balancing(stage, posture)


def _balancing(stage: Stage, posture: Posture) -> Posture:
    """Arms a little out while one foot is off the floor."""
    out = stage.near([0.22, -0.27, 0.08], 0.02)
    for hand in ("near_hand", "far_hand"):
        start = getattr(posture, hand)
        share = stage.track((0.05, 0.0), (0.3, 1), (0.7, 1), (0.95, 0))[:, None]
        setattr(posture, hand, start + share * (out - start))
    return posture


@dataclass(frozen=True)
class Action:
    """One class. `held` is what its rule says about the object; `move` writes the motion."""

    number: int  # NTU's A-number
    name: str
    cue: str  # "colour", "depth" or "order": what sets it apart from its partner
    partner: int
    held: str  # "mouth": in the acting hand, "view": in both, "idle": a distractor in the other hand
    object_color: str  # a class of OBJECT_COLORS, or "any"
    move: Callable[[Stage], Posture]
    reverse: bool = False  # played backwards


ACTIONS = (
    Action(1, "drink water", "colour", 2, "mouth", "cold", _consume),
    Action(2, "eat snack", "colour", 1, "mouth", "warm", _consume),
    Action(8, "sitting down", "order", 9, "idle", "any", sit_down),
    Action(9, "standing up", "order", 8, "idle", "any", sit_down, reverse=True),
    Action(11, "reading", "colour", 29, "view", "light", _look_at),
    Action(20, "put on a hat/cap", "order", 21, "idle", "any", _put_on_cap),
    Action(21, "take off a hat/cap", "order", 20, "idle", "any", _put_on_cap, reverse=True),
    Action(24, "kicking something", "depth", 26, "idle", "any", _kick),
    Action(26, "hopping", "depth", 24, "idle", "any", _hop),
    Action(29, "playing with phone/tablet", "colour", 11, "view", "dark", _look_at),
    Action(31, "pointing to something with finger", "depth", 45, "idle", "any", _point),
    Action(45, "touch chest (stomachache/heart pain)", "depth", 31, "idle", "any", _touch_chest),
)
BY_NUMBER = {action.number: action for action in ACTIONS}

# hue in turns, saturation, value: middle and half width of each class
OBJECT_COLORS = {
    "cold": ((0.56, 0.09), (0.85, 0.12), (0.75, 0.15)),  # cyan to blue
    "warm": ((0.06, 0.07), (0.88, 0.10), (0.80, 0.15)),  # red to yellow
    "light": ((0.12, 0.12), (0.12, 0.08), (0.92, 0.07)),  # paper
    "dark": ((0.62, 0.12), (0.35, 0.20), (0.15, 0.07)),  # glass
}


@dataclass
class Performance:
    """One subject doing one action, before any camera: solids and joints in body coordinates."""

    solids: list[Solid]
    joints: np.ndarray  # (T,25,3)

    @property
    def num_frames(self) -> int:
        return len(self.joints)


def perform(action: Action, who: Person, nuisance: PuppetNuisance, shape: str, seed: int, key: object) -> Performance:
    """The action with an object of `shape`; every draw depends on (seed, key) only.

    With the same key, partners of cue "colour" move identically and partners of cue "order" are each
    other in reverse.
    """
    rng = generator(seed, "motion", key)
    num_frames = int(np.clip(round(21 / who.tempo * rng.uniform(0.93, 1.07)), 18, 24))
    stage = Stage(num_frames, who, nuisance, rng)
    body = pose(action.move(stage), who)
    if who.left_handed:
        body = mirrored(body)
    solids = body_solids(body, who) + _object(action, body, who, shape, nuisance.object_size)
    solids += _cap(action, body, who, stage)
    joints = body.joints
    if action.reverse:
        solids, joints = [solid.at(slice(None, None, -1)) for solid in solids], joints[::-1]
    return Performance(solids, joints)


def _sides(who: Person) -> tuple[str, str]:
    """The acting side and the other."""
    return ("left", "right") if who.left_handed else ("right", "left")


def _object(action: Action, body: Body, who: Person, shape: str, size: float) -> list[Solid]:
    acting, other = (body.joints[:, JOINT[f"{side} hand"]] for side in _sides(who))
    if action.held == "view":
        tilted = multiply(body.torso, rotation(0, np.full(len(acting), 0.5)))
        rows = tilted.transpose(0, 2, 1)
        if shape == "cylinder":  # a scroll lies across
            rows = rows[:, [1, 0, 2]]
        return object_solids(shape, (acting + other) / 2 + turn(body.torso, [0, 0.05, 0.03]), rows, size)
    upright = body.torso.transpose(0, 2, 1)
    if action.held == "mouth":
        return object_solids(shape, acting + turn(body.torso, [0, 0.02, 0.05]), upright, size)
    return object_solids(shape, other + turn(body.torso, [0, -0.05, 0.05]), upright, size)


def _cap(action: Action, body: Body, who: Person, stage: Stage) -> list[Solid]:
    """In the hand, then on the head; in other actions now and then a cap that stays on."""
    worn = body.joints[:, JOINT["head"]] + turn(body.head, [0, 0.055, -0.005])
    rows = body.head.transpose(0, 2, 1)
    if action.move is _put_on_cap:
        inward = -1.0 if who.left_handed else 1.0
        carried = body.joints[:, JOINT[f"{_sides(who)[0]} hand"]]
        carried = carried + turn(body.torso, [0.10 * inward, -0.02, 0.06])
        on = stage.track((0.40, 0.0), (0.52, 1))[:, None]
        return cap_solids(carried + on * (worn - carried), rows)
    return cap_solids(worn, rows) if stage.rng.random() < 0.25 else []
