"""The base class of the settings' sections."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from modules.base.fields import number_not_bool


class Section(BaseModel):
    """Some settings, frozen; an undeclared name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _number_not_bool(cls, value: Any, info: ValidationInfo) -> Any:
        return number_not_bool(cls, info.field_name or "", value)
