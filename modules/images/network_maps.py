"""Preprocessors of A1111's ControlNet extension that are networks, and the files of their weights. None is offered.

Names are those of the extension, with the labels that its page shows.
"""

from collections.abc import Mapping
from typing import Final

MIDAS: Final = "dpt_hybrid-midas-501f0c75.pt"
OPENPOSE: Final = "body_pose_model.pth"
HED: Final = "ControlNetHED.pth"
PIDINET: Final = "table5_pidinet.pth"

WEIGHTS: Final[Mapping[str, str]] = {
    "openpose": OPENPOSE,
    "openpose_face": OPENPOSE,
    "openpose_faceonly": OPENPOSE,
    "openpose_full": OPENPOSE,
    "openpose_hand": OPENPOSE,
    "dw_openpose_full": "dw-ll_ucoco_384.onnx",
    "depth": MIDAS,
    "depth_midas": MIDAS,
    "depth_leres": "res101.pth",
    "depth_zoe": "ZoeD_M12_N.pt",
    "depth_anything": "depth_anything_vitl14.pth",
    "normal_map": MIDAS,
    "normal_midas": MIDAS,
    "normal_bae": "scannet.pt",
    "hed": HED,
    "softedge_hed": HED,
    "scribble_hed": HED,
    "fake_scribble": HED,
    "pidinet": PIDINET,
    "softedge_pidinet": PIDINET,
    "scribble_pidinet": PIDINET,
    "mlsd": "mlsd_large_512_fp32.pth",
    "lineart": "sk_model.pth",
    "lineart_realistic": "sk_model.pth",
    "lineart_coarse": "sk_model2.pth",
    "lineart_anime": "netG.pth",
    "lineart_anime_denoise": "erika.pth",
    "segmentation": "upernet_global_small.pth",
    "seg_ufade20k": "upernet_global_small.pth",
    "seg_ofade20k": "250_16_swin_l_oneformer_ade20k_160k.pth",
    "seg_ofcoco": "150_16_swin_l_oneformer_coco_100ep.pth",
}
