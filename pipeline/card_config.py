"""Settings of the model card: what only the people who train can say about a bundle."""

from pydantic import Field

from cache.config import Config


class CardConfig(Config):
    """What the bundle's model card says besides figures."""

    license: str = Field(
        default="unknown",
        pattern=r"^[a-z0-9][a-z0-9.+-]*$",
        description="Licence of the trained networks, in Hugging Face's spelling, such as mit, apache-2.0, "
        "cc-by-nc-4.0 or other. That of the first weights may restrict it.",
    )
    data: str = Field(default="", description="What the photos show, where they are from, and on what terms.")
    intended_use: str = Field(default="", description="What the networks are meant for, and what they are not.")
