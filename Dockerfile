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
# The package without its code: what it needs is a layer that stays when only code has changed, so
# that neither building nor pulling a release moves torch again.
COPY pyproject.toml constraints.txt ./
RUN mkdir service models && touch README.md LICENSE models/__init__.py \
    && echo '__version__ = "0"' >service/__init__.py

FROM build AS needs-api
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/mindalle/bin/pip install --no-compile -c constraints.txt '.[otel,stores]' \
    && /opt/mindalle/bin/pip uninstall --yes mindalle-serve

FROM build AS needs-worker
# Empty: the default index, whose torch has CUDA. The index of CPU wheels makes an image without it.
ARG TORCH_INDEX=""
RUN --mount=type=cache,target=/root/.cache/pip \
    if [ -n "$TORCH_INDEX" ]; then \
        /opt/mindalle/bin/pip install --no-compile -c constraints.txt \
            --index-url "$TORCH_INDEX" torch torchvision; \
    fi \
    && /opt/mindalle/bin/pip install --no-compile -c constraints.txt '.[worker,otel,stores]' \
    && /opt/mindalle/bin/pip uninstall --yes mindalle-serve

FROM build AS code
COPY README.md LICENSE ./
COPY service service
COPY models models
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/mindalle/bin/pip install --no-compile --no-deps --target /opt/code .

FROM code AS code-api
RUN rm -rf /opt/code/models/weights

FROM ${PYTHON_IMAGE} AS runtime
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="minDALL-E Serve" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/code/bin:/opt/mindalle/bin:$PATH \
    PYTHONPATH=/opt/code \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
RUN groupadd --gid 10001 mindalle \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp mindalle
WORKDIR /tmp

FROM runtime AS worker
COPY --from=needs-worker /opt/mindalle /opt/mindalle
COPY --from=code /opt/code /opt/code
# Weights to bake in: a folder of this checkout. Without it, mount one at /weights when needed;
# the emoji models are part of the package.
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
COPY --from=needs-api /opt/mindalle /opt/mindalle
COPY --from=code-api /opt/code /opt/code
ENV MINDALLE_API__HOST=0.0.0.0 \
    MINDALLE_API__PORT=8000
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
ENTRYPOINT ["mindalle"]
CMD ["api"]
