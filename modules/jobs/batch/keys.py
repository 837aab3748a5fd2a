"""The key of a file's results, by which a later run recognizes finished files."""

import hashlib
import json

from modules.processing.options import NOTED, effective, named_settings
from modules.schema.catalog import Checkpoint
from modules.schema.request import Img2ImgRequest
from modules.schema.settings import Settings


def key_of(request: Img2ImgRequest, settings: Settings, checkpoint: Checkpoint, vae: str = "") -> str:
    """The hash of everything that determines a file's pictures: source, mask, request, settings, checkpoint, `vae`.

    Only the settings that would appear in the infotext are included: the others do not change the pictures.
    """
    pictures = {"init_images", "mask", "latent_mask", "override_settings"}
    acting = effective(request, settings)
    names = sorted(named_settings(request, settings, acting, NOTED))
    made_of = {
        "source": [picture.sha256 for picture in request.init_images],
        "mask": [picture.sha256 if picture else "" for picture in (request.mask, request.latent_mask)],
        "request": request.model_dump(exclude=pictures),
        "settings": {name: getattr(acting, name) for name in names},
        "checkpoint": checkpoint.name,
        **({"vae": vae} if vae else {}),
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()
