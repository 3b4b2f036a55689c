# The image of shaker: any Debian base with Python 3.11 or newer as `python3`, for example
#   docker build --build-arg BASE=debian-python:12 --tag redis-shaker .
# Nothing here needs BuildKit: some platforms still build without it.
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build

# Debian's own Python lacks its headers and venv, the python images have both. Versions are the base's matter.
# hadolint ignore=DL3008,SC2086
RUN set -eu; \
    packages=""; \
    command -v gcc > /dev/null || packages="gcc libc6-dev"; \
    python3 -c 'import ensurepip' 2> /dev/null || packages="$packages python3-venv"; \
    python3 -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
      || packages="$packages python3-dev"; \
    if [ -n "$packages" ]; then \
      apt-get update; \
      apt-get install --yes --no-install-recommends $packages; \
      rm -rf /var/lib/apt/lists/*; \
    fi

COPY requirements.lock requirements-build.lock ./
RUN python3 -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes --requirement requirements-build.lock \
 && python3 -m venv /opt/shaker \
 && /opt/shaker/bin/pip install --no-cache-dir --require-hashes --requirement requirements.lock

COPY . .
# The third command is a check: an image whose codec is not compiled is never made.
RUN SHAKER_BUILD_COMPILED=1 /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/shaker/bin/pip install --no-cache-dir --no-deps --no-index dist/*.whl \
 && case "$(/opt/shaker/bin/shaker --version)" in *"codec compiled"*) ;; *) exit 1 ;; esac \
 && /opt/shaker/bin/pip uninstall --yes pip

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="redis-shaker" \
      org.opencontainers.image.description="Replicates a Redis or Valkey to another one, each command exactly once" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

COPY --from=build /opt/shaker /opt/shaker
ENV PATH="/opt/shaker/bin:${PATH}" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 CMD ["shaker", "healthcheck"]
ENTRYPOINT ["shaker"]
CMD ["run"]
