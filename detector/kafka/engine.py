"""The seam between the shell and the core: bytes and columns in, messages out.

Law: `decode`, `prepare` and `conclude` depend on their arguments alone, so replaying the same records in any cuts gives
the same state and the same outputs, byte for byte. So do `decode_labels` and `learn_labels`, called only where labels
are read; they are replayed in the very calls in which they were made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from detector.codec import snapshot as state_codec
from detector.codec.decode import Decoded, Decoder
from detector.codec.encode import Encoder
from detector.codec.labels import DecodedLabels, LabelDecoder
from detector.core.batch import DecisionBatch, Verdict
from detector.core.labels import LabelTally, learn_labels
from detector.core.operator import conclude, prepare
from detector.core.spec import Spec
from detector.core.state import gauges, new_state
from detector.kafka.outbox import Output
from detector.kafka.records import Records, headers_of
from detector.settings import Settings


class Engine(Protocol):
    """What folds records into a state. The state is opaque to the shell."""

    spec_fingerprint: str
    state_fingerprint: str
    state_parts: dict[str, str]  # what the latter is made of: digests by name
    slots: Mapping[str, int]  # entity → slots_max, for the metrics

    def new_state(self, partition: int) -> Any:
        """The state of the task of `partition` before its first record."""
        ...

    def decode(self, records: Records) -> Decoded:
        """Columns of the accepted records, and the rejects."""
        ...

    def prepare(self, state: Any, decoded: Decoded) -> Any:
        """The first half of a fold, in log order; may run while the batch before is concluded in another thread."""
        ...

    def conclude(self, state: Any, prepared: Any) -> DecisionBatch:
        """The second half, in log order: decide, and fold into `state` in place."""
        ...

    def outputs(self, records: Records, decoded: Decoded, decisions: DecisionBatch) -> list[Output]:
        """Alerts and published decisions, in log order."""
        ...

    def decode_labels(self, records: Records) -> DecodedLabels:
        """Columns of the accepted labels, and the rejects."""
        ...

    def learn_labels(self, state: Any, decoded: DecodedLabels) -> LabelTally:
        """Fold labels into `state` in place, while no batch of its task is prepared and not concluded."""
        ...

    def snapshot(self, state: Any) -> bytes:
        """The state as bytes."""
        ...

    def restore(self, data: bytes) -> Any:
        """Back from bytes; raises ValueError where they are not of this version and spec."""
        ...

    def nbytes(self, state: Any) -> int:
        """Bytes held."""
        ...

    def gauges(self, state: Any) -> dict[str, float]:
        """Figures for the metrics; see `detector.core.state.gauges`."""
        ...


class CoreEngine:
    """The detector itself."""

    def __init__(self, settings: Settings, spec: Spec) -> None:
        topics = settings.topics
        self._spec = spec
        self._decoder = Decoder(settings.mapping, spec, topics.transactions)
        self._label_decoder = LabelDecoder(settings.mapping) if spec.labels is not None else None
        self._encoder = Encoder(settings.mapping, spec, topics.transactions, settings.application_id)
        self._alerts, self._decisions = topics.alerts, topics.decisions
        # Least verdict that is published as a decision; none at infinity.
        self._publish_from = {"none": math.inf, "review": Verdict.REVIEW, "all": Verdict.PASS}[
            settings.output.decisions
        ]
        self.slots: Mapping[str, int] = {entity.name: entity.slots_max for entity in spec.entities}
        self.spec_fingerprint, self.state_fingerprint = spec.fingerprint(), spec.state_fingerprint()
        self.state_parts = spec.state_parts()

    def new_state(self, partition: int) -> Any:
        """The state of the task of `partition` before its first record."""
        return new_state(self._spec, partition)

    def decode(self, records: Records) -> Decoded:
        """Columns of the accepted records, and the rejects."""
        return self._decoder.decode(records.payloads, records.offset, records.record_time_ms, records.partition)

    def prepare(self, state: Any, decoded: Decoded) -> Any:
        """The features."""
        return prepare(self._spec, state, decoded.batch)

    def conclude(self, state: Any, prepared: Any) -> DecisionBatch:
        """All that follows from them."""
        return conclude(self._spec, state, prepared)

    def outputs(self, records: Records, decoded: Decoded, decisions: DecisionBatch) -> list[Output]:
        """Alerts and published decisions, in log order."""
        verdict = decisions.verdict
        rows = np.flatnonzero((verdict >= self._publish_from) | (verdict == Verdict.ALERT))
        outputs = []
        for row in rows.tolist():
            record = int(decoded.record[row])
            message = records.messages[record]
            arguments = (
                records.payloads[record] or b"",
                records.partition,
                int(records.offset[record]),
                decisions,
                row,
            )
            headers, key = headers_of(message), message.key()
            event_time_ms = int(decoded.batch.event_time_ms[row])
            if verdict[row] == Verdict.ALERT:
                alert = self._encoder.alert(*arguments, headers, key=key, event_time_ms=event_time_ms)
                outputs.append(Output(self._alerts, alert))
            if verdict[row] >= self._publish_from:
                decision = self._encoder.decision(*arguments, headers, key=key, event_time_ms=event_time_ms)
                outputs.append(Output(self._decisions, decision))
        return outputs

    def decode_labels(self, records: Records) -> DecodedLabels:
        """Columns of the accepted labels, and the rejects."""
        assert self._label_decoder is not None, "labels are read where the spec has them"
        return self._label_decoder.decode(records.payloads, records.record_time_ms)

    def learn_labels(self, state: Any, decoded: DecodedLabels) -> LabelTally:
        """What they teach."""
        return learn_labels(self._spec, state, decoded.labels)

    def snapshot(self, state: Any) -> bytes:
        """The state as bytes."""
        return state_codec.snapshot(self._spec, state)

    def restore(self, data: bytes) -> Any:
        """Back from bytes; raises SnapshotError where they are not of this version and spec."""
        return state_codec.restore(self._spec, data)

    def nbytes(self, state: Any) -> int:
        """Bytes held."""
        return int(state.nbytes())

    def gauges(self, state: Any) -> dict[str, float]:
        """Figures for the metrics."""
        return gauges(self._spec, state)
