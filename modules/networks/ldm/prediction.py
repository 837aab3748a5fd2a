"""What a checkpoint's network predicts, according to the JSON next to it, its yaml, its tensors or its metadata."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from modules.base.errors import WebuiError
from modules.networks.files.foreign import FIELD, format_of, parse_json, read_text
from modules.networks.files.listing import Header, read_metadata
from modules.networks.files.own_notes import PREDICTION, ZERO_SNR, prediction_path
from modules.networks.ldm.sidecar import Sidecar
from modules.sampling.noise_model import Prediction

log = logging.getLogger(__name__)

_EPSILON: Final[Prediction] = "epsilon"
_V: Final[Prediction] = "v_prediction"
_NAMES: Final[Mapping[str, Prediction]] = {"epsilon": _EPSILON, "eps": _EPSILON, "v_prediction": _V, "v": _V}


class PredictionNotes(NamedTuple):
    """What notes say about a checkpoint's prediction; None if they say nothing."""

    prediction: Prediction | None = None
    is_zero_snr: bool | None = None


def prediction_notes(path: Path, header: Header, sidecar: Sidecar) -> PredictionNotes:
    """The notes on a single file. The user's JSON takes precedence, then the yaml, the tensors and the metadata.

    Raises WebuiError for an unknown value in the JSON.
    """
    return first(_by_person(path), by_yaml(sidecar), by_tensors(header), _by_metadata(path))


def folder_notes(folder: Path) -> PredictionNotes:
    """What `defaults.json` in a diffusers folder says. Raises WebuiError as `prediction_notes` does."""
    return _by_person(folder)


def first(*answers: PredictionNotes) -> PredictionNotes:
    """The first value given for each field."""
    answer = PredictionNotes()
    for each in reversed(answers):
        answer = PredictionNotes(
            each.prediction or answer.prediction, answer.is_zero_snr if each.is_zero_snr is None else each.is_zero_snr
        )
    return answer


def by_yaml(sidecar: Sidecar) -> PredictionNotes:
    """LDM's `parameterization`, or SGM's scaling of the denoiser."""
    kind = sidecar.scaling.rpartition(".")[2]
    scaled: Prediction | None = _V if kind.startswith("VScaling") else _EPSILON if kind == "EpsScaling" else None
    prediction: Prediction | None = _NAMES.get(str(sidecar.model.get("parameterization"))) or scaled
    zero = sidecar.model.get(ZERO_SNR)
    return PredictionNotes(prediction, zero if isinstance(zero, bool) else None)


def by_tensors(header: Header) -> PredictionNotes:
    """Fine-tunes mark v-prediction by a tensor `v_pred`, zero SNR by `ztsnr`."""
    return PredictionNotes("v_prediction" if "v_pred" in header else None, True if "ztsnr" in header else None)


def _by_metadata(path: Path) -> PredictionNotes:
    """Notes from Stability AI's modelspec, and from kohya's trainers."""
    if format_of(path) != "safetensors":
        return PredictionNotes()
    metadata = read_metadata(path)
    trainer = {"True": "v", "False": "eps"}.get(metadata.get("ss_v_parameterization", ""), "")
    prediction: Prediction | None = _NAMES.get(metadata.get("modelspec.prediction_type", "").lower()) or _NAMES.get(
        trainer
    )
    return PredictionNotes(prediction, True if metadata.get("ss_zero_terminal_snr") == "True" else None)


def _by_person(path: Path) -> PredictionNotes:
    """`prediction_type` and `zero_terminal_snr` from the JSON next to a checkpoint; other keys are ignored."""
    beside = prediction_path(path)
    try:
        content: Any = parse_json(read_text(beside))
    except FileNotFoundError:
        return PredictionNotes()
    except (OSError, ValueError, WebuiError) as error:
        log.warning("%s cannot be read (%s); the checkpoint is used without it.", beside, error)
        return PredictionNotes()
    values = cast(dict[str, Any], content) if isinstance(content, dict) else {}
    word, zero = values.get(PREDICTION), values.get(ZERO_SNR)
    if word is not None and (not isinstance(word, str) or word not in _NAMES):
        raise _wrong(beside, PREDICTION, word, "epsilon or v_prediction")
    if zero is not None and not isinstance(zero, bool):
        raise _wrong(beside, ZERO_SNR, zero, "true or false")
    return PredictionNotes(_NAMES[word] if word is not None else None, zero)


def _wrong(path: Path, key: str, value: object, expected: str) -> WebuiError:
    return WebuiError(
        f"{path.name}: {key}={ascii(value)[:60]}: expected {expected}.", "Correct it, or remove the key.", field=FIELD
    )
