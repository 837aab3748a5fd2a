"""The folders that contain models: ours, those from flags, and those of other programs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from modules.base.root import ROOT
from modules.flags.flags import Flags
from modules.networks.files import installations
from modules.networks.files.cards import CardKind
from modules.networks.files.control import FOLDERS as CONTROL_FOLDERS
from modules.networks.files.installations import Installation
from modules.networks.files.upscalers import FOLDERS as UPSCALER_FOLDERS

HASHES = "cache/hashes.json"  # in the data folder; written by the engine process and by `reproduce`
HEADERS = "cache/headers.json"  # in the same folder; caches the headers of model files
CHECKPOINTS = "Stable-diffusion"  # below the models folder, as in A1111
TRANSFORMERS = "diffusion_models"  # ComfyUI's folder for checkpoints without text encoder and VAE
LORAS = ("Lora", "LyCORIS")
EMBEDDINGS = "embeddings"
VAES = "VAE"
TEXT_ENCODERS = ("text_encoder", "text_encoders")
HYPERNETWORKS = "hypernetworks"


@dataclass(frozen=True)
class ModelFolders:
    """The folders searched for models, in this order; the first file with a name wins.

    Ours come first, then those from flags, then those of other installations, which are read-only.
    """

    flags: Flags
    others: tuple[Installation, ...] = ()

    @classmethod
    def of(cls, flags: Flags) -> "ModelFolders":
        """Raises WebuiError if a flag names an installation that does not exist."""
        named = ((installations.a1111, flags.a1111), (installations.comfy, flags.comfy))
        return cls(flags, tuple(read(path) for read, path in named if path is not None))

    @cached_property
    def checkpoints(self) -> tuple[Path, ...]:
        """The models folder's two, the bundled checkpoint's, `--ckpt-dir`, and `--ckpt`'s."""
        flags = self.flags
        own = [flags.models_dir / CHECKPOINTS, flags.models_dir / TRANSFORMERS, ROOT / "models" / CHECKPOINTS]
        beside = [] if flags.ckpt is None else [flags.ckpt.parent]
        return self._with_others([*own, *flags.ckpt_dirs, *beside], installations.CHECKPOINTS)

    @cached_property
    def loras(self) -> tuple[Path, ...]:
        """The models folder's, under both of A1111's names, and `--lora-dir`."""
        own = [self.flags.models_dir / name for name in LORAS]
        return self._with_others([*own, *self.flags.lora_dirs], installations.LORAS)

    @cached_property
    def embeddings(self) -> tuple[Path, ...]:
        """The models folder's, the one in A1111's data folder, and `--embeddings-dir`."""
        own = [self.flags.models_dir / EMBEDDINGS, self.flags.data_dir / EMBEDDINGS]
        return self._with_others([*own, *self.flags.embeddings_dirs], installations.EMBEDDINGS)

    @cached_property
    def vaes(self) -> tuple[Path, ...]:
        """The models folder's, and `--vae-dir`."""
        return self._with_others([self.flags.models_dir / VAES, *self.flags.vae_dirs], installations.VAES)

    @cached_property
    def text_encoders(self) -> tuple[Path, ...]:
        """The models folder's, under Forge's and ComfyUI's names; for checkpoints without one."""
        own = [self.flags.models_dir / name for name in TEXT_ENCODERS]
        return self._with_others(own, installations.TEXT_ENCODERS)

    @property
    def all(self) -> tuple[Path, ...]:
        """All folders with files that a request can name."""
        return (
            *self.checkpoints,
            *self.loras,
            *self.embeddings,
            *self.vaes,
            *self.hypernetworks,
            *self.control_models,
            *self.text_encoders,
        )

    @cached_property
    def hypernetworks(self) -> tuple[Path, ...]:
        """The models folder's, and `--hypernetwork-dir`."""
        own = [self.flags.models_dir / HYPERNETWORKS, *self.flags.hypernetwork_dirs]
        return self._with_others(own, installations.HYPERNETWORKS)

    @cached_property
    def upscalers(self) -> tuple[Path, ...]:
        """The models folder's, under A1111's and ComfyUI's names."""
        return self._with_others([self.flags.models_dir / name for name in UPSCALER_FOLDERS], installations.UPSCALERS)

    @cached_property
    def control_models(self) -> tuple[Path, ...]:
        """The models folder's, and `--controlnet-dir`."""
        own = [*(self.flags.models_dir / name for name in CONTROL_FOLDERS), *self.flags.controlnet_dirs]
        return self._with_others(own, installations.CONTROL)

    @property
    def styles(self) -> tuple[Path, ...]:
        """The installations' styles.csv files."""
        return tuple(path for other in self.others for path in other.styles)

    @property
    def settings(self) -> Path | None:
        """A1111's config.json, from which the settings are imported at the first start."""
        return next((other.settings for other in self.others if other.settings is not None), None)

    @property
    def remarks(self) -> tuple[str, ...]:
        """A sentence for each part of an installation that cannot be used."""
        return tuple(remark for other in self.others for remark in other.remarks)

    @property
    def card_roots(self) -> Mapping[CardKind, Sequence[Path]]:
        """The folders of each kind of model that has cards."""
        return {
            "checkpoints": self.checkpoints,
            "loras": self.loras,
            "embeddings": self.embeddings,
            "hypernetworks": self.hypernetworks,
            "vaes": (*self.vaes, *self.checkpoints),
        }

    @property
    def read_only(self) -> tuple[Path, ...]:
        """The installations' folders."""
        return tuple(path for other in self.others for paths in other.folders.values() for path in paths)

    def engine_options(self) -> dict[str, str]:
        """The arguments of `processing.engine.create_engine`."""
        flags = self.flags
        return {
            "device": "cpu" if flags.use_cpu else "auto",
            "precision": flags.precision,
            "cache_dir": str(flags.data_dir / "cache"),
            "extensions_dir": str(flags.extensions_dir),
            "merge_folder": str(self.checkpoints[0]),
            "memory": flags.memory,
            "vae": "tiles" if flags.tiled_vae else "auto",
        }

    def _with_others(self, own: Sequence[Path], kind: str) -> tuple[Path, ...]:
        found = [*own, *(path for other in self.others for path in other.folders.get(kind, ()))]
        return tuple(dict.fromkeys(found))
