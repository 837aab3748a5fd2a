"""What the command line says, as one frozen object."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from modules.base.root import ROOT
from modules.flags.credentials import Credentials
from modules.flags.values import EVERYWHERE, is_loopback

Memory = Literal["auto", "whole", "parts", "parts-sdxl", "layers"]

PORT = 7860  # A1111's, which bookmarks and scripts know
MAX_QUEUED_JOBS = 100  # of one client; the page's own queue of a long evening fits


@dataclass(frozen=True)
class Flags:
    """The command line, resolved: every path is absolute, every default filled in."""

    port: int = PORT
    server_name: str = "127.0.0.1"
    data_dir: Path = ROOT
    models_dir: Path = ROOT / "models"
    ckpt: Path | None = None  # the checkpoint to start with, instead of the one used last
    ckpt_dirs: tuple[Path, ...] = ()  # searched for checkpoints besides models_dir/Stable-diffusion
    lora_dirs: tuple[Path, ...] = ()  # searched for LoRAs besides models_dir/Lora
    hypernetwork_dirs: tuple[Path, ...] = ()  # searched for hypernetworks besides models_dir/hypernetworks
    embeddings_dirs: tuple[Path, ...] = ()  # searched for textual inversions besides models_dir/embeddings
    controlnet_dirs: tuple[Path, ...] = ()  # searched for ControlNets besides models_dir/ControlNet
    vae_dirs: tuple[Path, ...] = ()  # searched for VAEs besides models_dir/VAE
    a1111: Path | None = None  # an installation of A1111 or Forge, whose folders, styles and settings are read
    comfy: Path | None = None  # an installation of ComfyUI, or a YAML file of its, whose folders are read
    precision: Literal["auto", "full"] = "auto"  # full: 32 bit floats
    use_cpu: bool = False
    tiled_vae: bool = False  # whether pictures go through the VAE in tiles even where memory is free
    memory: Memory = "auto"  # how checkpoints are held: as they fit, whole, part by part, layer by layer
    theme: Literal["auto", "light", "dark"] = "auto"  # auto: the browser's choice
    autolaunch: bool = True
    loglevel: str = "INFO"
    log_json: bool = False  # each line of the log as one JSON object
    auth: Credentials = field(default_factory=Credentials)
    allow_hosts: tuple[str, ...] = ()  # further names of this server, in lower case, as a proxy or a DNS calls it
    cors_origins: tuple[str, ...] = ()  # scheme://host[:port] of other sites that may use the server; or just "*"
    tls_keyfile: Path | None = None
    tls_certfile: Path | None = None
    allow_url_fetch: bool = False  # whether a picture may be named by its URL
    offline: bool = False  # whether models may not be fetched
    max_queued_jobs: int = MAX_QUEUED_JOBS  # queued or running, for one client
    remarks: tuple[str, ...] = ()  # one line for each flag that does nothing, or something else, here

    @property
    def url(self) -> str:
        """Where the page is, for this machine's browser."""
        name = "127.0.0.1" if self.server_name in EVERYWHERE else self.server_name
        host = f"[{name}]" if ":" in name else name
        return f"{'https' if self.tls_certfile else 'http'}://{host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine can reach the server."""
        return is_loopback(self.server_name)

    @property
    def outputs_dir(self) -> Path:
        return self.data_dir / "outputs"

    @property
    def extensions_dir(self) -> Path:
        return self.data_dir / "extensions"

    @property
    def settings_file(self) -> Path:
        return self.data_dir / "config.json"
