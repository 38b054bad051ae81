"""The commands `labkit export` and `labkit predict`: a model leaves the lab and is asked about a video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from ..errors import LabError
from ..tools import home as homes
from ..tools.settings import at_least_one

if TYPE_CHECKING:
    from ..export.onnx_model import Model
    from ..export.predict import Prediction

PNG_HEAD = b"\x89PNG\r\n\x1a\n"


def export(
    run: Positional[str],
    /,
    out: Path | None = None,
    data: Path | None = None,
    home: Path | None = None,
) -> None:
    """Write a run that needs no depth as ONNX, with its description inside and a model card beside it.

    Args:
        run: Id or folder of a finished run whose every stream sees RGB, such as one of step 4.
        out: A new folder for the files; by default HOME/runs/exports/RUN.
        data: The data root it was trained on, unless that is the embedded set.
        home: Folder of data/ and runs/; by default the one that holds notebooks/.
    """
    base = homes.find_home(home)  # a wrong one is told before torch is loaded
    from ..export import convert, describe, onnx_model

    found = describe.find_run(run, base)
    folder = out or base / onnx_model.EXPORTS / found.id
    about = convert.export_onnx(found, describe.find_lab(found, base, data), folder)
    print(f"{folder / onnx_model.ONNX_FILE}: logits within {about['parity']:.1e} of the run's own")


def predict(
    video: Positional[Path],
    /,
    model: Path | None = None,
    run: str | None = None,
    data: Path | None = None,
    top: int = 5,
    json: bool = False,
    picture: Path | None = None,
    home: Path | None = None,
) -> None:
    """What happens in a video, by a model that needs no depth: frames chosen, likeliest classes, a picture.

    Args:
        video: Any video file that PyAV reads, or a picture.
        model: An export, its folder or ONNX file; by default the one in HOME/runs/exports.
        run: Ask this run's own network instead; needs its clip store, but no ONNX Runtime.
        data: The data root that run was trained on, unless that is the embedded set.
        top: How many classes to tell.
        json: Print JSON, and draw no picture unless one is named.
        picture: PNG to write; by default VIDEO.prediction.png in the current folder.
        home: Folder of data/ and runs/; by default the one that holds notebooks/.
    """
    at_least_one(top=top)
    if model is not None and run is not None:
        raise LabError.mismatch(None, "an export or a run", "both", "leave --model or --run out")
    path = picture or (None if json else Path(f"{video.stem}.prediction.png"))
    if path is not None:
        _check_picture(path, video)
    from ..export.predict import predict_video

    answer = predict_video(video, _asked(model, run, data, home))
    if path is not None:
        _draw(answer, path, top)
    print(answer.as_json(top, path) if json else "\n".join(answer.lines(top, path)))


def _asked(path: Path | None, run: str | None, data: Path | None, home: Path | None) -> Model:
    """The model that is to answer: an export, named or the one there is, or a run's own network."""
    from ..export import onnx_model

    if path is not None:  # which needs no project folder
        return onnx_model.open_export(path)
    base = homes.find_home(home)
    if run is None:
        return onnx_model.open_export(onnx_model.find_export(base))
    from ..export import describe

    found = describe.find_run(run, base)
    return describe.eager_model(found, describe.find_lab(found, base, data))


def _check_picture(path: Path, video: Path) -> None:
    """LabError before anything is computed where the picture would replace something that is none."""
    fix = "name a new file that ends in .png with --picture"
    if path.suffix.lower() != ".png":
        raise LabError.mismatch(path, "a name that ends in .png", path.name, fix)
    if not path.exists():
        return
    if video.exists() and path.samefile(video):
        raise LabError.mismatch(path, "another file than the one asked about", "the same", fix)
    if not path.is_file() or path.read_bytes()[:8] != PNG_HEAD:
        raise LabError.mismatch(path, "no file, or a PNG to replace", "something else", fix)


def _draw(answer: Prediction, path: Path, top: int) -> None:
    from .. import files
    from ..figures import pictures, style

    sheet = answer.video.frames, answer.video.indices, answer.maps, answer.about["maps_of"]
    figure = pictures.answer_sheet(*sheet, answer.top(top))
    caption = f"Answer of {answer.about['run']}, trained on {answer.about['data']['name']}"
    files.write_bytes(path, style.picture_bytes(figure, "png", caption))
