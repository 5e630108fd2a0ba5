"""Counters, gauges and histograms for /metrics (prometheus-client). It knows no call, only numbers and labels."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
_LAGS = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """One registry per server, so that several servers can live in one test process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls_started = Counter("assist_calls_started", "Calls accepted", ["platform"], registry=self.registry)
        self.calls_ended = Counter("assist_calls_ended", "Calls ended", ["reason"], registry=self.registry)
        self.calls_live = Gauge("assist_calls_live", "Calls live now", registry=self.registry)
        self.errors = Counter("assist_errors", "Errors told on the wire", ["code"], registry=self.registry)
        self.anomalies = Counter("assist_anomalies", "Odd frames, by kind", ["kind"], registry=self.registry)
        self.audio = Counter("assist_audio_seconds", "Audio received, by fate", ["fate"], registry=self.registry)
        self.faltered = Counter("assist_faltered", "Parts that failed", ["part"], registry=self.registry)
        self.faults = Counter("assist_channel_faults", "Channels found faulty", ["kind"], registry=self.registry)
        self.subscribers = Gauge("assist_subscribers", "Event sockets open", registry=self.registry)
        self.slow_subscribers = Counter("assist_slow_subscribers", "Sockets cut: not reading", registry=self.registry)
        self.load_level = Gauge("assist_load_level", "0 normal .. 3 new calls refused", registry=self.registry)
        self.room = Gauge("assist_room_calls", "Calls the recogniser can carry, as learnt", registry=self.registry)
        self.queue = Gauge("assist_queue", "Finals and speculative finals waiting", registry=self.registry)
        self.tasks = Gauge("assist_tasks", "Tasks of the event loop, when last asked", registry=self.registry)
        self.delivered = Counter("assist_webhooks_delivered", "Events taken, by type", ["type"], registry=self.registry)
        self.undelivered = Counter(
            "assist_webhooks_failed", "Tries that failed, by why", ["why"], registry=self.registry
        )
        self.dead = Counter("assist_webhooks_dead", "Events given up", registry=self.registry)
        self.telling = Gauge("assist_webhooks_pending_calls", "Calls with events to send", registry=self.registry)
        self.loop_lag = Histogram(
            "assist_loop_lag_seconds", "How late the event loop's timer ran", buckets=_LAGS, registry=self.registry
        )
        self.stage = Histogram(
            "assist_stage_seconds",
            "queue, asr, final (end of speech to final), analyse, suggest, total, eager (end of speech to cards ahead)",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )

    def stages(self, latency_ms: dict[str, float]) -> None:
        """Observe each stage of an entry's `latency_ms`."""
        for stage, ms in latency_ms.items():
            self.stage.labels(stage).observe(max(0.0, ms) / 1000)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
