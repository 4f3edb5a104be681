"""The canonical transaction. Topics of any other shape are mapped to the same roles by `schemas.mapping`."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from schemas.base import Amount, EventTimeMs, Id, Message, Numeric


class Transaction(Message):
    """One card payment. Unknown fields are ignored, so producers may add theirs. Record key: `card_id` as UTF-8."""

    model_config = ConfigDict(extra="ignore")

    transaction_id: Id = Field(description="Unique id given by the producer, 1 to 256 characters.")
    event_time: EventTimeMs = Field(
        description="When the payment happened, integer milliseconds since 1970-01-01T00:00:00Z; 2000 up to 2100."
    )
    card_id: Id = Field(description="Card, best a token rather than the number, 1 to 256 characters.")
    customer_id: Id = Field(description="Holder of the card, 1 to 256 characters.")
    merchant_id: Id = Field(description="Merchant paid, 1 to 256 characters.")
    amount: Amount = Field(description="Amount in units of `currency` (not cents), 0 to 1e12.")
    currency: Id = Field(description="ISO 4217 code, such as EUR.")
    terminal_id: Id | None = Field(default=None, description="Terminal or till, 1 to 256 characters.")
    mcc: Id | None = Field(default=None, description="Merchant category code, ISO 18245, as text: leading zeros count.")
    channel: Id | None = Field(default=None, description="How it was paid, such as pos, online, atm.")
    country: Id | None = Field(default=None, description="Country of the merchant, ISO 3166-1 alpha-2.")
    lat: float | None = Field(default=None, ge=-90, le=90, description="Latitude in degrees, north positive.")
    lon: float | None = Field(default=None, ge=-180, le=180, description="Longitude in degrees, east positive.")
    ip: Id | None = Field(default=None, description="Address of the payer's device, IPv4 or IPv6 as text.")
    device_id: Id | None = Field(default=None, description="Fingerprint or id of the payer's device.")
    features: dict[str, Numeric] = Field(
        default_factory=dict,
        description="Further numeric columns by name, each finite and within ±1e15. Only those that the settings "
        "declare under [input] numeric are read.",
    )
