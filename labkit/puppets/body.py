"""The puppets: 40 people of different build, and the solids and joints that a posture gives them.

Body coordinates: x to the person's left, y up from the floor, z forward; lengths in metres. Every
posture is authored for a right-handed person and mirrored for a left-handed one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from .rendering import Box, Capsule, Solid

LABELS = (
    "nothing", "shirt", "sleeve", "trousers", "shoes", "skin", "hair", "left hand", "right hand",
    "object", "cap", "chair", "occluder",
)  # fmt: skip
LABEL = {name: number for number, name in enumerate(LABELS)}
FOREGROUND = LABEL["cap"]  # labels 1 to this one stay in masked depth; furniture does not

# Kinect v2's joints 0 to 24, in the order of the SDK's JointType
JOINTS = (
    "spine base", "spine mid", "neck", "head", "left shoulder", "left elbow", "left wrist", "left hand",
    "right shoulder", "right elbow", "right wrist", "right hand", "left hip", "left knee", "left ankle",
    "left foot", "right hip", "right knee", "right ankle", "right foot", "spine shoulder",
    "left hand tip", "left thumb", "right hand tip", "right thumb",
)  # fmt: skip
JOINT = {name: number for number, name in enumerate(JOINTS)}


def _swap(name: str) -> str:
    side, _, rest = name.partition(" ")
    return {"left": f"right {rest}", "right": f"left {rest}"}.get(side, name)


MIRROR = [JOINT[_swap(name)] for name in JOINTS]


def generator(seed: int, *key: object) -> np.random.Generator:
    """Randomness as a function of (seed, purpose, ...): the same on any worker, in any order."""
    digest = hashlib.sha256("/".join(map(str, (seed, *key))).encode("utf-8")).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


@dataclass(frozen=True)
class Person:
    """What stays the same about one subject. Colours are RGB in 0..1."""

    height: float  # metres
    build: float  # factor on all limb radii
    arm: float  # arm length as a fraction of the usual
    left_handed: bool
    tempo: float  # above 1 is quicker
    amplitude: float  # size of free movements
    stoop: float  # radians the torso always leans forward
    rest: tuple[float, float, float]  # habit of holding the hands: out, up, forward, fractions of height
    long_sleeves: bool
    shirt: tuple[float, float, float]
    trousers: tuple[float, float, float]
    skin: tuple[float, float, float]
    hair: tuple[float, float, float]


_SKIN = np.array([[0.95, 0.78, 0.66], [0.82, 0.62, 0.46], [0.62, 0.43, 0.30], [0.40, 0.27, 0.20]])


def person(seed: int, subject: int, style: float) -> Person:
    """Subject 1 to 40. `style` scales how far subjects differ in manner; build and clothes always do."""
    rng = generator(seed, "person", subject)
    skin = np.clip(_SKIN[rng.integers(4)] + rng.normal(0, 0.03, 3), 0.1, 1)
    manner = rng.normal(0, 1, 6).clip(-2, 2) * style
    return Person(
        height=float(np.clip(rng.normal(1.70, 0.10), 1.48, 1.95)),
        build=float(rng.uniform(0.85, 1.2)),
        arm=float(rng.uniform(0.95, 1.06)),
        left_handed=bool(rng.random() < 0.3),
        tempo=float(2 ** (0.15 * manner[0])),
        amplitude=float(np.clip(1 + 0.10 * manner[1], 0.7, 1.25)),
        stoop=float(0.05 * manner[2]),
        rest=(0.16 + 0.012 * manner[3], -0.35 + 0.012 * abs(manner[4]), 0.03 + 0.02 * manner[5]),
        long_sleeves=bool(rng.random() < 0.5),
        shirt=tuple(rng.uniform(0.08, 0.95, 3)),
        trousers=tuple(rng.uniform(0.05, 0.6, 3)),
        skin=tuple(skin),
        hair=tuple(rng.uniform(0.02, 0.45) * np.array([1.0, 0.8, 0.6])),
    )


@dataclass
class Posture:
    """What drives a body, one row a frame: lengths are fractions of body height, angles radians.

    Hands are (out to their own side, up, forward) from the base of the neck and turn with the torso;
    feet and pelvis are offsets (out or left, up, forward) from where they stand. "near" is the acting hand.
    """

    pelvis: np.ndarray  # (T,3)
    lean: np.ndarray  # (T,) forward
    side: np.ndarray  # (T,) to the left
    twist: np.ndarray  # (T,) to the left
    nod: np.ndarray  # (T,) head forward
    near_hand: np.ndarray  # (T,3)
    far_hand: np.ndarray  # (T,3)
    near_foot: np.ndarray  # (T,3)
    far_foot: np.ndarray  # (T,3)


@dataclass
class Body:
    """A posed body: `joints` (T,25,3) and the turning matrices (T,3,3) of torso and head."""

    joints: np.ndarray
    torso: np.ndarray
    head: np.ndarray


def turn(matrix: np.ndarray, vector) -> np.ndarray:
    """(T,3,3) times (3,) or (T,3). Written out, so that no maths library changes the last digit."""
    return (matrix * np.asarray(vector, float)[..., None, :]).sum(-1)


def rotation(axis: int, angle: np.ndarray) -> np.ndarray:
    """(T,) radians about axis 0 (leans forward), 1 (turns left) or 2 (tilts right) -> (T,3,3)."""
    matrix = np.zeros((len(angle), 3, 3))
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix[:, axis, axis] = 1
    matrix[:, a, a] = matrix[:, b, b] = np.cos(angle)
    matrix[:, b, a] = np.sin(angle)
    matrix[:, a, b] = -np.sin(angle)
    return matrix


def multiply(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Matrix products (T,3,3), written out like `turn`."""
    return (first[:, :, :, None] * second[:, None]).sum(2)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.maximum(np.sqrt((vector**2).sum(-1, keepdims=True)), 1e-9)


def _two_bones(root, target, upper: float, lower: float, pole) -> tuple[np.ndarray, np.ndarray]:
    """Middle and end of a two-bone limb that reaches for `target`, bent towards `pole`; all (T,3)."""
    reach = target - root
    distance = np.sqrt((reach**2).sum(-1, keepdims=True))
    direction = _unit(reach)
    distance = np.clip(distance, abs(upper - lower) + 0.02, upper + lower - 1e-3)
    along = (upper**2 - lower**2 + distance**2) / (2 * distance)
    bend = np.sqrt(np.maximum(upper**2 - along**2, 0))
    outward = _unit(pole - (pole * direction).sum(-1, keepdims=True) * direction)
    return root + along * direction + bend * outward, root + distance * direction


def pose(posture: Posture, who: Person) -> Body:
    """The 25 joints of a right-handed body, in body coordinates."""
    h = who.height
    twist = rotation(1, posture.twist)
    torso = multiply(multiply(twist, rotation(0, posture.lean + who.stoop)), rotation(2, -posture.side))
    head = multiply(torso, rotation(0, posture.nod))
    joints = np.zeros((len(posture.lean), len(JOINTS), 3))

    def put(name: str, place: np.ndarray) -> np.ndarray:
        joints[:, JOINT[name]] = place
        return place

    base = put("spine base", np.array([0, 0.53 * h, 0]) + posture.pelvis * h)
    put("spine mid", base + turn(torso, [0, 0.14 * h, 0]))
    collar = put("spine shoulder", base + turn(torso, [0, 0.285 * h, 0]))
    neck = put("neck", base + turn(torso, [0, 0.325 * h, 0]))
    put("head", neck + turn(head, [0, 0.075 * h, 0.012 * h]))
    hands = {"right": posture.near_hand, "left": posture.far_hand}
    feet = {"right": posture.near_foot, "left": posture.far_foot}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        _arm(put, side, sign, collar, torso, hands[side], who)
        _leg(put, side, sign, base, twist, feet[side], who)
    return Body(joints, torso, head)


def _arm(put, side: str, sign: float, collar, torso, hand, who: Person) -> None:
    h, mirror = who.height, np.array([sign, 1, 1])
    aside = [sign * 0.105 * h * who.build**0.5, -0.012 * h, 0]
    shoulder = put(f"{side} shoulder", collar + turn(torso, aside))
    target = collar + turn(torso, hand * mirror * h)
    pole = turn(torso, np.array([0.7, -1.0, -0.5]) * mirror)
    upper, fore, palm = 0.172 * h * who.arm, 0.15 * h * who.arm, 0.045 * h
    elbow, hand_place = _two_bones(shoulder, target, upper, fore + palm, pole)
    direction = _unit(hand_place - elbow)
    put(f"{side} elbow", elbow)
    put(f"{side} wrist", elbow + fore * direction)
    put(f"{side} hand", hand_place)
    put(f"{side} hand tip", hand_place + 0.045 * h * direction)
    put(f"{side} thumb", hand_place + turn(torso, np.array([-0.02 * h, 0.01 * h, 0.01 * h]) * mirror))


def _leg(put, side: str, sign: float, base, twist, foot, who: Person) -> None:
    h, mirror = who.height, np.array([sign, 1, 1])
    hip = put(f"{side} hip", base + turn(twist, [sign * 0.05 * h, -0.005 * h, 0]))
    ankle = (np.array([0.065, 0.04, 0]) + foot) * mirror * h
    pole = np.broadcast_to(np.array([0.15, 0, 1.0]) * mirror, ankle.shape)
    knee, ankle = _two_bones(hip, ankle, 0.245 * h, 0.245 * h, pole)
    put(f"{side} knee", knee)
    put(f"{side} ankle", ankle)
    lift = np.clip(foot[:, 2:] * 1.5, -1, 1)  # toes up in front, down behind
    forward = np.concatenate([0 * lift + 0.2 * sign, lift - 0.35, 1 - 0.6 * abs(lift)], axis=1)
    put(f"{side} foot", ankle + 0.075 * h * _unit(forward))


def mirrored(body: Body) -> Body:
    """Left and right exchanged: the same action by a left-handed person."""
    flip = np.array([-1.0, 1, 1])
    both = flip[:, None] * flip
    return Body(body.joints[:, MIRROR] * flip, body.torso * both, body.head * both)


def body_solids(body: Body, who: Person) -> list[Solid]:
    """The limbs as capsules, their radii after the person's height and build."""
    r = who.height * who.build / 1.7
    j = {name: body.joints[:, number] for name, number in JOINT.items()}
    lower = "sleeve" if who.long_sleeves else "skin"

    def limb(label: str, start, end, radius: float, end_radius: float) -> Capsule:
        return Capsule(LABEL[label], start, end, radius * r, end_radius * r)

    face = turn(body.head, [0, 0, 0.01])
    chin, crown = turn(body.head, [0, -0.035, 0.015]), turn(body.head, [0, 0.045, -0.02])
    solids = [
        limb("skin", j["head"] + chin, j["head"] + face + turn(body.head, [0, 0.03, 0]), 0.075, 0.09),
        limb("hair", j["head"] + crown, j["head"] + crown - turn(body.head, [0, 0.03, 0.03]), 0.095, 0.085),
        limb("skin", j["neck"], j["spine shoulder"], 0.055, 0.06),
        limb("shirt", j["spine shoulder"] + turn(body.torso, [0, -0.1, 0.02]), j["spine base"], 0.115, 0.125),
    ]
    for side in ("left", "right"):
        hip, waist = j[f"{side} hip"], 0.7 * j["spine mid"] + 0.3 * j[f"{side} shoulder"]
        inner = 0.72 * j[f"{side} shoulder"] + 0.28 * j["spine shoulder"]
        solids += [
            limb("shirt", inner - turn(body.torso, [0, 0.06, 0]), waist, 0.095, 0.10),
            limb("shirt", waist, hip, 0.10, 0.105),
            limb("sleeve", j[f"{side} shoulder"], j[f"{side} elbow"], 0.058, 0.046),
            limb(lower, j[f"{side} elbow"], j[f"{side} wrist"], 0.044, 0.034),
            limb(f"{side} hand", j[f"{side} wrist"], j[f"{side} hand tip"], 0.036, 0.034),
            limb("trousers", hip, j[f"{side} knee"], 0.088, 0.062),
            limb("trousers", j[f"{side} knee"], j[f"{side} ankle"], 0.060, 0.042),
            limb("shoes", j[f"{side} ankle"] - [0, 0.02, 0], j[f"{side} foot"], 0.045, 0.04),
        ]
    return solids


def object_solids(shape: str, place: np.ndarray, frame: np.ndarray, size: float) -> list[Solid]:
    """A held object of that shape, centred at `place` (T,3), its y axis along the second row of `frame`."""
    label = LABEL["object"]
    if shape in ("cylinder", "ball"):
        half, radius = {"cylinder": (0.075, 0.05), "ball": (0.0005, 0.085)}[shape]
        reach = half * size * frame[:, 1]
        return [Capsule(label, place - reach, place + reach, radius * size, radius * size)]
    half = {"box": (0.07, 0.085, 0.05), "slab": (0.12, 0.15, 0.015)}[shape]
    return [Box(label, place, frame, np.array(half) * size)]


def cap_solids(place: np.ndarray, frame: np.ndarray) -> list[Solid]:
    """A cap with a wide brim, the middle of its brim at `place`; `frame` rows are its left, up, forward."""
    up, forward, label = frame[:, 1], frame[:, 2], LABEL["cap"]
    crown = Capsule(label, place + 0.02 * up, place + 0.06 * up, 0.105, 0.09)
    brim = Box(label, place + 0.035 * forward, frame, np.array([0.13, 0.012, 0.16]))
    return [crown, brim]
