# syntax=docker/dockerfile:1.7
# Two images from one file: `api` (slim, no torch) and `worker` (torch and its CUDA libraries).
#
#   docker build --target api    -t mindalle-api .
#   docker build --target worker -t mindalle-worker .
#   docker build --target worker --build-arg TORCH_INDEX=<index of CPU wheels> -t mindalle-worker:cpu .
#   docker build --target worker --build-arg WEIGHTS=my-weights -t mindalle-worker:baked .
#
# torch's wheels bring the CUDA runtime; the host brings the driver (NVIDIA container toolkit).

ARG PYTHON_IMAGE=python:3.12.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/mindalle
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY service service
COPY models models

FROM build AS build-api
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/mindalle/bin/pip install --no-compile -c constraints.txt '.[otel,stores]' \
    && rm -rf /opt/mindalle/lib/python*/site-packages/models/weights

FROM build AS build-worker
# Empty: the default index, whose torch has CUDA. The index of CPU wheels makes an image without it.
ARG TORCH_INDEX=""
RUN --mount=type=cache,target=/root/.cache/pip \
    if [ -n "$TORCH_INDEX" ]; then \
        /opt/mindalle/bin/pip install --no-compile -c constraints.txt \
            --index-url "$TORCH_INDEX" torch torchvision; \
    fi \
    && /opt/mindalle/bin/pip install --no-compile -c constraints.txt '.[worker,otel,stores]'

FROM ${PYTHON_IMAGE} AS runtime
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="minDALL-E Serve" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/mindalle/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
RUN groupadd --gid 10001 mindalle \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp mindalle
WORKDIR /tmp

FROM runtime AS worker
COPY --from=build-worker /opt/mindalle /opt/mindalle
# Weights to bake in: a folder of this checkout. Without it, mount one at /weights when needed;
# the emoji model is part of the package.
ARG WEIGHTS=deploy/no-weights
COPY ${WEIGHTS}/ /weights/
ENV MINDALLE_WORKER__METRICS_HOST=0.0.0.0 \
    MINDALLE_WORKER__METRICS_PORT=9101 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
EXPOSE 9101
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9101/livez', timeout=4)"]
ENTRYPOINT ["mindalle"]
CMD ["worker"]

FROM runtime AS api
COPY --from=build-api /opt/mindalle /opt/mindalle
ENV MINDALLE_API__HOST=0.0.0.0 \
    MINDALLE_API__PORT=8000
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
ENTRYPOINT ["mindalle"]
CMD ["api"]
