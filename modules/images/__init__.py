"""What happens to pixels outside the network: sizes, masks, grids. Geometry is integers and boxes, tested by tables."""
