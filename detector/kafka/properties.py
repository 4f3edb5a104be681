"""Which properties of `[kafka] client` librdkafka does not take.

It alone knows their names, their values and what goes together, and says so as a client is made. So each client that a
run makes is made here of the same settings, but for the brokers' addresses: none is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from detector.kafka import client
from detector.settings import Settings
from detector.settings.faults import is_secret

PLACE = "kafka.client"
Config = dict[str, Any]


def faults(settings: Settings, besides: Collection[str] = ()) -> list[str]:
    """One line a fault, with the property that it goes away with. `besides`: places whose faults are known."""
    found: list[str] = []
    properties = {name: value for name, value in settings.kafka.client.items() if f"{PLACE}.{name}" not in besides}
    for make, config_of in _clients():
        refusal = partial(_refusal, make, config_of, settings)
        while (said := refusal(properties)) is not None:
            guilty = [name for name in properties if refusal(_but(properties, name)) != said]
            place = f"{PLACE}.{guilty[0]}" if len(guilty) == 1 else PLACE
            found.append(f"{place}: expected what librdkafka takes, found: {_without_secrets(said, properties)}")
            if not guilty:
                break
            for name in guilty:
                del properties[name]
    return found


def _clients() -> Iterator[tuple[Callable[[Config], Any], Callable[[Settings], Config]]]:
    """How each client is made, and of what."""
    yield AdminClient, lambda settings: client.base(settings, "admin")
    yield Consumer, lambda settings: client.consumer_config(settings, _ignore)
    yield Consumer, lambda settings: client.reader_config(settings, _ignore)
    yield Consumer, lambda settings: client.labels_config(settings, _ignore)
    yield Producer, lambda settings: client.producer_config(settings, _transactional_id(settings), _ignore)


def _transactional_id(settings: Settings) -> str | None:
    return settings.application_id if settings.kafka.guarantee == "exactly_once" else None


def _but(properties: Config, name: str) -> Config:
    return {key: value for key, value in properties.items() if key != name}


def _refusal(
    make: Callable[[Config], Any], config_of: Callable[[Settings], Config], settings: Settings, properties: Config
) -> str | None:
    """Why there is no such client with those properties; None where there is."""
    kafka = settings.kafka.model_copy(update={"client": properties})
    config = config_of(settings.model_copy(update={"kafka": kafka}))
    try:
        made = make({**config, "bootstrap.servers": ""})
    except KafkaException as error:
        return str(error.args[0].str()).strip()
    except (TypeError, ValueError, AttributeError) as error:  # of properties that take a function
        return str(error)
    if isinstance(made, Consumer):
        made.close()
    return None


def _without_secrets(said: str, properties: Config) -> str:
    for name, value in properties.items():
        if is_secret(name) and value != "":
            said = said.replace(str(value), "a value that is not shown")
    return said


def _ignore(_error: KafkaError) -> None:
    """What a client without brokers says is of no interest."""
