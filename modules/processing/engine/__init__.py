"""The engine, which runs jobs on a device."""

from modules.processing.engine.create import create_engine
from modules.processing.engine.engine import Engine

__all__ = ["Engine", "create_engine"]
