"""Settings for HTTPS: the gateway's certificate and its key."""

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from hedgerow.common.settings.group import Group


class TlsSettings(Group):
    """The gateway's certificate; a part of the group `gateway`."""

    tls_cert: Path | None = Field(
        None,
        description="PEM file of the gateway's certificate and of those between it and its "
        "authority. With it and tls_key, the gateway speaks HTTPS (TLS 1.2 or newer) and no HTTP; "
        "both files are reread when they change.",
    )
    tls_key: Path | None = Field(
        None,
        validate_default=True,
        description="PEM file of the private key of tls_cert, which is not encrypted.",
    )

    @field_validator("tls_key")
    @classmethod
    def _belongs_to_a_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if "tls_cert" not in info.data:  # it has an error of its own
            return key
        cert = info.data["tls_cert"]
        if (key is None) is not (cert is None):
            missing, given = ("tls_key", "tls_cert") if key is None else ("tls_cert", "tls_key")
            raise ValueError(f"{missing} is not set, but {given} is; TLS needs both")
        return key
