"""The command line as one frozen object."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from modules.base.root import ROOT
from modules.flags.credentials import Credentials
from modules.flags.values import EVERYWHERE, is_loopback

Memory = Literal["auto", "whole", "parts", "parts-sdxl", "layers"]

PORT = 7860  # A1111's, which bookmarks and scripts use
MAX_QUEUED_JOBS = 100  # of one client; enough for what the page queues in a long evening


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
    a1111: Path | None = None  # an A1111 or Forge installation, whose folders, styles and settings are read
    comfy: Path | None = None  # a ComfyUI installation, or one of its YAML files, whose folders are read
    precision: Literal["auto", "full"] = "auto"  # full: 32 bit floats
    use_cpu: bool = False
    tiled_vae: bool = False  # whether the VAE works in tiles even if there is enough memory
    memory: Memory = "auto"  # how checkpoints are loaded: as they fit, whole, part by part, layer by layer
    theme: Literal["auto", "light", "dark"] = "auto"  # auto: the browser's choice
    autolaunch: bool = True
    loglevel: str = "INFO"
    log_json: bool = False  # each line of the log as one JSON object
    auth: Credentials = field(default_factory=Credentials)
    allow_hosts: tuple[str, ...] = ()  # further names of this server, in lower case, such as those a proxy or DNS uses
    cors_origins: tuple[str, ...] = ()  # scheme://host[:port] of other sites that may use the server; or just "*"
    tls_keyfile: Path | None = None
    tls_certfile: Path | None = None
    allow_url_fetch: bool = False  # whether a request may give a picture by URL
    offline: bool = False  # whether downloading models is forbidden
    max_queued_jobs: int = MAX_QUEUED_JOBS  # queued or running, for one client
    remarks: tuple[str, ...] = ()  # one line for each flag that does nothing, or something else, here

    @property
    def url(self) -> str:
        """The page's URL, for this machine's browser."""
        name = "127.0.0.1" if self.server_name in EVERYWHERE else self.server_name
        host = f"[{name}]" if ":" in name else name
        return f"{'https' if self.tls_certfile else 'http'}://{host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine can reach the server."""
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
