"""Settings in groups, one for each thing that they are about: names, limits and descriptions.

Knows neither where values come from nor what they do.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from models.flags import MAX_THREADS
from service.config.aliases import read_aliases
from service.config.base_url import BaseUrl, read_base_url
from service.config.hosted import read_hosted
from service.config.mirrors import read_mirrors
from service.config.origins import read_origins
from service.config.paths import UserPath
from service.config.redis_url import split_redis_url
from service.jobs import MAX_CANDIDATES

API_PORT = 8000

_GROUP = ConfigDict(frozen=True, extra="forbid")


class RedisSettings(BaseModel):
    """How to reach Redis or Valkey."""

    model_config = _GROUP

    url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="redis://, rediss:// (TLS) or redis+sentinel://host:port,host:port/service/db; "
        "user and password as in any URL; Sentinel's own as ?sentinel_username=…"
        "&sentinel_password=….",
    )
    ca_file: UserPath | None = Field(
        None, description="CA certificate for TLS, instead of the system's."
    )
    connect_timeout_s: float = Field(
        2.0, gt=0, le=60, description="Limit for one connection attempt."
    )
    timeout_s: float = Field(3.0, ge=0.5, le=60, description="Limit for one command.")
    max_connections: int = Field(64, ge=4, le=10_000, description="Connections per process.")

    @field_validator("url")
    @classmethod
    def _can_be_read(cls, text: SecretStr) -> SecretStr:
        split_redis_url(text.get_secret_value())
        return text


class ApiSettings(BaseModel):
    """The HTTP process."""

    model_config = _GROUP

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(
        API_PORT, ge=0, le=65535, description="Port to listen on; 0 takes a free one."
    )
    public_url: str | None = Field(
        None,
        description="The server's address as callers see it, such as https://pics.example/img, "
        "when a proxy is in front: every address in an answer begins with it, whatever headers "
        "say. The proxy may take the path off or leave it on.",
    )
    max_body_bytes: int = Field(65_536, ge=1024, le=10_485_760, description="Largest request body.")
    max_upload_bytes: int = Field(
        8_388_608,
        ge=65_536,
        le=67_108_864,
        description="Largest request body where pictures are taken; a proxy must let it through.",
    )
    codes: bool = Field(
        True, description="Serve /v1/images/encode and /decode: pictures to codes and back."
    )
    default_deadline_s: float = Field(
        120.0, gt=0, le=86_400, description="Deadline of a job that was sent without one."
    )
    max_deadline_s: float = Field(900.0, gt=0, le=86_400, description="Latest deadline to ask for.")
    heartbeat_s: float = Field(
        10.0,
        gt=0,
        le=30,
        description="Seconds between comment lines of an event stream: clients and proxies take a "
        "minute of silence for a lost connection.",
    )
    drain_grace_s: float = Field(
        30.0, ge=0, le=3600, description="After SIGTERM, time to answer the requests that wait."
    )
    on_demand_models: str = Field(
        "",
        description="Comma-separated presets whose jobs are taken while no worker serves them: "
        "for workers that an autoscaler starts when jobs wait.",
    )
    model_aliases: str = Field(
        "",
        description="Comma-separated name=preset, other names under which requests find presets: "
        "dall-e-3=emoji, for tools whose model can't be changed.",
    )
    sizes: Literal["native", "any"] = Field(
        "native",
        description="any: what the model makes is resampled (Lanczos) to the size that a request "
        "asks for, up to 2048x2048; another shape is stretched. native: only the model's own size.",
    )
    playground: bool = Field(True, description="Serve the playground page at /.")
    cors_origins: str = Field(
        "",
        description="Comma-separated origins whose pages may call the API, as browsers send them: "
        "https://app.example,http://localhost:3000. null: pages from files; *: all; empty: none.",
    )
    trust_proxy: bool = Field(
        False,
        description="Without MINDALLE_API__PUBLIC_URL, build addresses from what proxies say: "
        "X-Forwarded-Proto, -Host and -Port, else Forwarded (proto, host), the first of each list, "
        "and every X-Forwarded-Prefix, joined. The proxy must set or clear all of them.",
    )

    @property
    def base_url(self) -> BaseUrl | None:
        """The public address, if the operator told it."""
        return read_base_url(self.public_url) if self.public_url else None

    @field_validator("public_url")
    @classmethod
    def _is_address(cls, text: str | None) -> str | None:
        if text:
            read_base_url(text)
        return text

    @field_validator("model_aliases")
    @classmethod
    def _are_pairs(cls, text: str) -> str:
        read_aliases(text)
        return text

    @field_validator("cors_origins")
    @classmethod
    def _can_match(cls, text: str) -> str:
        read_origins(text)
        return text


class QueueSettings(BaseModel):
    """Admission, leases and times to live; the API and the workers must agree on them."""

    model_config = _GROUP

    max_depth: int = Field(1000, ge=1, le=1_000_000, description="Jobs that may wait per model.")
    max_candidates: int = Field(
        8192,
        ge=MAX_CANDIDATES,
        le=10_000_000,
        description="Candidates waiting or running, per model.",
    )
    key_rate_per_s: float = Field(
        100.0, gt=0, le=100_000, description="Jobs per second that one API key may send."
    )
    key_burst: int = Field(200, ge=1, le=1_000_000, description="Jobs that a key may send at once.")
    key_share: float = Field(
        1.0, gt=0, le=1, description="Part of max_candidates that one API key may hold."
    )
    lease_s: float = Field(
        20.0, ge=0.05, le=3600, description="A worker without progress for so long loses its jobs."
    )
    max_attempts: int = Field(
        3,
        ge=2,
        le=100,
        description="Times a job is started before it becomes a dead letter; the last time alone.",
    )
    result_ttl_s: float = Field(
        3600.0, ge=0.05, le=2_592_000, description="How long an ended job and its images are kept."
    )
    idempotency_ttl_s: float = Field(
        86_400.0, ge=0.05, le=2_592_000, description="How long an Idempotency-Key is remembered."
    )
    dead_letter_ttl_s: float = Field(
        2_592_000.0, ge=1, le=31_536_000, description="How long dead letters are kept."
    )
    sweep_interval_s: float = Field(
        1.0, ge=0.01, le=60, description="Seconds between looks for lost leases and late jobs."
    )

    @property
    def key_candidates(self) -> int:
        """Candidates that one API key may have in flight; never less than one largest job."""
        return max(MAX_CANDIDATES, int(self.max_candidates * self.key_share))


class WorkerSettings(BaseModel):
    """The process that holds the model."""

    model_config = _GROUP

    id: str | None = Field(
        None,
        description="Name among the workers; host and process when empty. A second worker "
        "of the same name takes one of its own and says so.",
    )
    checkpoint: UserPath | None = Field(
        None, description="Folder with the weights; the preset's own place when empty."
    )
    models: str = Field(
        "",
        description="Comma-separated presets, or preset=folder of its weights, for a worker of "
        "several models; when empty, MINDALLE_MODEL alone.",
    )
    preload: Literal["default", "all", "none"] = Field(
        "default",
        description="Models that are loaded at the start, the others when a job first wants them. "
        "default: MINDALLE_MODEL, or the first where that is not among them.",
    )
    unload_idle_s: float | None = Field(
        None,
        gt=0,
        le=31_536_000,
        description="A model without a job for so long is unloaded; never when empty.",
    )
    models_memory_mb: int | None = Field(
        None,
        ge=1,
        le=100_000_000,
        description="Most MB for weights and rows of loaded models: the one not used for longest "
        "makes room. When empty, what a GPU has; on a CPU no limit.",
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1.")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="Number type of stage 2."
    )
    quantization: Literal["none", "int8"] = Field(
        "none", description="int8: the transformer's weights in 8 bits; the log tells the error."
    )
    rows: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Candidates per step; when empty, what a GPU's memory holds, on a CPU 32.",
    )
    threads: int | None = Field(None, ge=1, le=MAX_THREADS, description="CPU threads for torch.")
    compile: bool = Field(True, description="Capture the step as a CUDA graph where possible.")
    views: bool = Field(
        True, description="Make the coarser views of each kept picture, where the model has such."
    )
    drain_grace_s: float = Field(
        60.0, ge=0, le=3600, description="After SIGTERM, time to finish what runs."
    )
    heartbeat_s: float = Field(1.0, ge=0.05, le=60, description="Seconds between signs of life.")
    metrics_host: str = Field("127.0.0.1", description="Address of the worker's /metrics.")
    metrics_port: int = Field(9101, ge=0, le=65535, description="Its port; 0 switches it off.")

    @field_validator("models")
    @classmethod
    def _are_hosted(cls, text: str) -> str:
        read_hosted(text)
        return text


class PullSettings(BaseModel):
    """`mindalle pull`, which fetches released weights."""

    model_config = _GROUP

    mirrors: str = Field(
        "",
        description="Comma-separated addresses that are asked before the official ones; each has "
        "the files below the host and path of their official addresses, as `wget -x` lays them.",
    )
    timeout_s: float = Field(
        30.0, gt=0, le=3600, description="A server that is silent for so long is asked again."
    )

    @field_validator("mirrors")
    @classmethod
    def _are_addresses(cls, text: str) -> str:
        read_mirrors(text)
        return text


class TestingSettings(BaseModel):
    """Faults to inject. For tests only; leave them all empty anywhere else."""

    model_config = _GROUP
    __test__ = False  # pytest would take the name for a test class

    poison_prompt: str | None = Field(
        None, description="A step with a job of this prompt raises an error."
    )
    hang_prompt: str | None = Field(None, description="A step with this prompt never ends.")
    kill_prompt: str | None = Field(None, description="A step with this prompt kills the process.")
    step_delay_s: float = Field(0.0, ge=0, le=10, description="Wait so long in every step.")
    oom_above_rows: int | None = Field(
        None, ge=1, description="A step with more rows runs out of memory."
    )
