"""The engine, which runs jobs on a device."""

from modules.processing.engine.create import create_engine
from modules.processing.engine.engine import Engine
from modules.processing.engine.resources import Resources

__all__ = ["Engine", "Resources", "create_engine"]
