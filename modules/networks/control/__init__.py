"""ControlNets: networks beside a UNet that hold its pictures to lines, depth, a pose; Zhang et al. 2023, 2302.05543."""
