"""ControlNets: networks that make a UNet follow lines, depth or a pose; Zhang et al. 2023, arXiv 2302.05543."""
